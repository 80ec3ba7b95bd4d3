-- Counts a request unless too many were made within the window. What is refused is not counted.
-- KEYS: requests of a name by the time they were made, in microseconds
-- ARGV: request id, how many are allowed, window ms
-- Returns {1 refused or 0 counted, how many there are now, ms until one more is allowed, ms until all are gone}.
local time = redis.call('TIME')
local now, window = time[1] * 1000000 + time[2], ARGV[3] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local limit, count = tonumber(ARGV[2]), redis.call('ZCARD', KEYS[1])
local repeated = redis.call('ZSCORE', KEYS[1], ARGV[1])  -- its answer was lost
local refused = not repeated and count >= limit
if not refused and not repeated then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  count = count + 1
end
local function left(rank)  -- until the request of that rank is out of the window, rounded up
  local score = redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')[2]
  return score and math.ceil((score + window - now) / 1000) or 0
end
return {refused and 1 or 0, count, refused and left(count - limit) or 0, left(-1)}
