-- Writes a response's record and its first event, enqueues its job and wakes one worker: all or nothing.
-- KEYS: record, events, job, queue, wake, then the records of all ancestors
-- ARGV: response id, job definition, job ttl ms, record ttl s, first event, then field, value, field, value ...
-- Returns 0 when done (also when it had been done: a retried call), or the position from 1 of a missing ancestor.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 6, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return i - 5 end
end
for i = 6, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('XADD', KEYS[2], '0-1', 'e', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[4])
local now = redis.call('TIME')
redis.call('PSETEX', KEYS[3], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[4], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('RPUSH', KEYS[5], ARGV[1])
redis.call('EXPIRE', KEYS[5], 60)
return 0
