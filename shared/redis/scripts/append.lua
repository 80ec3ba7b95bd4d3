-- Appends events to a response's log and publishes the same bytes.
-- The log holds every event from 0, so its length is the next sequence number: a call that is repeated because its
-- answer was lost appends nothing twice, and a hole cannot be made.
-- KEYS: lease, events, record, job
-- ARGV: token, channel, sequence number of the first event, then for each event: the event, the progress it stands for
-- Returns 0 when the lease is lost, 1 when done, 2 when done and the response is to be cancelled (or was deleted), or
-- -1 - length where the log ends before the first event (Redis has lost what it had acknowledged): nothing was done.
if not holds(KEYS[1], KEYS[3], KEYS[4], ARGV[1]) then return 0 end
local record = redis.call('HMGET', KEYS[3], 'status', 'cancel', 'holder')
if not record[1] then return 2 end
local length = redis.call('XLEN', KEYS[2])
local first = tonumber(ARGV[3])
if first > length then return -1 - length end
if record[3] ~= ARGV[1] then redis.call('HSET', KEYS[3], 'holder', ARGV[1]) end
local published = {ARGV[3]}
for i = 4, #ARGV, 2 do
  local number = first + (i - 4) / 2
  published[#published + 1] = ARGV[i]
  if number >= length then
    if ARGV[i + 1] == '' then
      redis.call('XADD', KEYS[2], number .. '-1', 'e', ARGV[i])
    else
      redis.call('XADD', KEYS[2], number .. '-1', 'e', ARGV[i], 'p', ARGV[i + 1])
    end
  end
end
redis.call('PUBLISH', ARGV[2], table.concat(published, '\n'))
return record[2] and 2 or 1
