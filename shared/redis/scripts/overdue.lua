-- Which jobs have passed the time that they may wait for a worker.
-- KEYS: deadlines
-- ARGV: how many at most
local now = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000), 'LIMIT', 0, ARGV[1])
