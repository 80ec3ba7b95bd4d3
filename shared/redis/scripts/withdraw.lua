-- Takes a job out of its queue that nobody waits for any more. A worker that runs it may end it; nobody begins it again.
-- KEYS: job, queue, wake, claimed, owners, lane, shares, deadlines, lease, tries
-- ARGV: job id, owner
-- Returns how many workers were lost with it.
local tries = tonumber(redis.call('GET', KEYS[10]) or 0)
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[9]) == 1 then return math.max(tries - 1, 0) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
if redis.call('EXISTS', KEYS[6]) == 0 then redis.call('ZREM', KEYS[5], ARGV[2]) end
redis.call('ZREM', KEYS[8], ARGV[1] .. '\n' .. KEYS[2])
redis.call('EXPIRE', KEYS[10], 60)  -- for a retried call to answer the same
return tries
