-- Asks whoever runs a response to end it. A finished one is left as it is; of one that nobody runs yet the caller gets
-- the lease, to end it itself.
-- KEYS: record, lease
-- ARGV: owner, token, lease ms
-- Returns false when this owner has no such response, else {status, whether the caller has the lease now}.
local record = redis.call('HMGET', KEYS[1], 'owner', 'status')
if record[1] ~= ARGV[1] then return false end
if record[2] ~= 'queued' and record[2] ~= 'in_progress' then return {record[2], 0} end
redis.call('HSET', KEYS[1], 'cancel', '1')
return {record[2], own(KEYS[2], ARGV[2], ARGV[3]) and 1 or 0}
