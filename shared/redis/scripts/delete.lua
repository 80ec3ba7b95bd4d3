-- Deletes a response. One that has not ended is cancelled, belongs to nobody any more, and goes when it has ended; of one
-- that nobody runs the caller gets the lease, to end it.
-- KEYS: record, events, lease, by whom it was deleted
-- ARGV: owner, token, lease ms, s for which a retried call is known
-- Returns 0 when this owner has no such response, 1 when done, 2 when the caller has the lease now.
local record = redis.call('HMGET', KEYS[1], 'owner', 'status')
if record[1] ~= ARGV[1] and redis.call('GET', KEYS[4]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[4])
if record[2] ~= 'queued' and record[2] ~= 'in_progress' then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 1
end
redis.call('HSET', KEYS[1], 'cancel', '1', 'owner', '', 'deleted', '1')
return own(KEYS[3], ARGV[2], ARGV[3]) and 2 or 1
