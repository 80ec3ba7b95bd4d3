-- Writes a response's record and its first events, enqueues its job and wakes one worker: all or nothing.
-- KEYS: record, events, job, queue, wake, idempotency (or ''), then the records of all ancestors
-- ARGV: response id, job definition, job ttl ms, record ttl s, idempotency ttl s, digest of the request,
--       number of events, event ..., then field, value, field, value ...
-- Returns {0} when done (also when it had been done: a retried call), {1, position from 1 of a missing ancestor}, or
-- {2, response id, digest} of the request that had this idempotency key before.
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
if KEYS[6] ~= '' then
  local earlier = redis.call('HMGET', KEYS[6], 'response', 'digest')
  if earlier[1] then return {2, earlier[1], earlier[2]} end
end
for i = 7, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {1, i - 6} end
end
for i = 7, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
local events = tonumber(ARGV[7])
redis.call('HSET', KEYS[1], unpack(ARGV, 8 + events))
redis.call('EXPIRE', KEYS[1], ARGV[4])
for i = 1, events do
  redis.call('XADD', KEYS[2], (i - 1) .. '-1', 'e', ARGV[7 + i])
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
if KEYS[6] ~= '' then
  redis.call('HSET', KEYS[6], 'response', ARGV[1], 'digest', ARGV[6])
  redis.call('EXPIRE', KEYS[6], ARGV[5])
end
local now = redis.call('TIME')
redis.call('PSETEX', KEYS[3], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[4], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('RPUSH', KEYS[5], ARGV[1])
redis.call('EXPIRE', KEYS[5], 60)
return {0}
