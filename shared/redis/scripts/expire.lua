-- Decides on a job that has passed its deadline. One that runs is looked at again later. One that a lost worker left
-- behind has just as long again to be taken over. Else the caller gets the lease, to end it.
-- KEYS: deadlines, lease, queue, claimed
-- ARGV: the entry as it was read, its deadline (keys.deadline), job id, token, lease ms, ms until it is looked at again
-- Returns whether the caller has the lease now.
if redis.call('GET', KEYS[2]) == ARGV[4] then return 1 end  -- a retried call
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
if not redis.call('ZSCORE', KEYS[3], ARGV[3]) then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZADD', KEYS[1], ms + ARGV[6], ARGV[2])
  return 0
end
if ARGV[1] == ARGV[2] and redis.call('HEXISTS', KEYS[4], ARGV[3]) == 1 then
  redis.call('ZADD', KEYS[1], ms + ARGV[6], ARGV[2] .. '\nlost')
  return 0
end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[1], ms + ARGV[5], ARGV[1])  -- should the caller die before it has ended it
return 1
