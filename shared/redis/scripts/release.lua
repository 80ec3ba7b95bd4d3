-- Gives a job back to its queue and wakes another worker, or takes it out of the queue. Only the lease holder may.
-- KEYS: lease, queue, job, retry, wake, claimed, deadlines
-- ARGV: token, job id, whether the job is done (1) or to be run again (0)
-- Returns 0 when the lease is lost, 1 when done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('HDEL', KEYS[6], ARGV[2])
  redis.call('ZREM', KEYS[7], ARGV[2] .. '\n' .. KEYS[2])
  redis.call('DEL', KEYS[3], KEYS[4])
else
  redis.call('RPUSH', KEYS[5], ARGV[2])
  redis.call('EXPIRE', KEYS[5], 60)
end
return 1
