-- Asks whoever runs a response to end it. A finished one is left as it is.
-- KEYS: record
-- Returns the status, or false when there is no such record.
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' or status == 'in_progress' then redis.call('HSET', KEYS[1], 'cancel', '1') end
return status
