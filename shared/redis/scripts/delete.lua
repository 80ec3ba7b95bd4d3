-- Deletes a response. One that still runs is cancelled, belongs to nobody any more, and goes when it has ended.
-- KEYS: record, events
-- ARGV: owner
-- Returns 0 when this owner has no such response, 1 when done.
local record = redis.call('HMGET', KEYS[1], 'owner', 'status')
if record[1] ~= ARGV[1] then return 0 end
if record[2] == 'queued' or record[2] == 'in_progress' then
  redis.call('HSET', KEYS[1], 'cancel', '1', 'owner', '', 'deleted', '1')
else
  redis.call('DEL', KEYS[1], KEYS[2])
end
return 1
