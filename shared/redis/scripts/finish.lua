-- Ends a response: last events, final record, time to live, lease and job, at once. Only the lease holder may.
-- KEYS: lease, events, record, queue, job, retry
-- ARGV: token, events channel, end channel, job id, status, response, record ttl s, log ttl s, stored (1 or 0),
--       sequence number of the first event, event, event ... (the last one is the terminal event)
-- Returns 0 when the lease is lost, 1 when done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local length = redis.call('XLEN', KEYS[2])
local first = tonumber(ARGV[10])
if first > length then return redis.error_reply('GAP the log ends before event ' .. ARGV[10]) end
for i = 11 + length - first, #ARGV do
  redis.call('XADD', KEYS[2], (first + i - 11) .. '-1', 'e', ARGV[i])
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('EXPIRE', KEYS[2], 60)  -- deleted while it ran: followers still read its end
else
  redis.call('HSET', KEYS[3], 'status', ARGV[5], 'response', ARGV[6])
  redis.call('HDEL', KEYS[3], 'cancel', 'request')
  redis.call('EXPIRE', KEYS[2], ARGV[8])
  if ARGV[9] == '1' then redis.call('EXPIRE', KEYS[3], ARGV[7]) else redis.call('EXPIRE', KEYS[3], ARGV[8]) end
end
redis.call('ZREM', KEYS[4], ARGV[4])
redis.call('DEL', KEYS[1], KEYS[5], KEYS[6])
redis.call('PUBLISH', ARGV[2], table.concat(ARGV, '\n', 10))
redis.call('PUBLISH', ARGV[3], ARGV[#ARGV])
return 1
