-- Enqueues a job that is no generation (a token count) and wakes one worker.
-- KEYS: job, queue, wake
-- ARGV: job id, job definition, job ttl ms
local now = redis.call('TIME')
redis.call('PSETEX', KEYS[1], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('RPUSH', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[3], 60)
return 1
