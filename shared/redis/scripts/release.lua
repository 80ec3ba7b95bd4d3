-- Gives a job back to its queue and wakes another worker, or takes it out of the queue. Only the lease holder may.
-- KEYS: lease, queue, job, retry, wake, claimed, deadlines
-- ARGV: token, job id, whether the job is done (1) or to be run again (0)
-- Returns 0 when the lease is lost, which it is for a retried call as well, 1 when done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[1], KEYS[3], KEYS[4])
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('HDEL', KEYS[6], ARGV[2])
  redis.call('ZREM', KEYS[7], ARGV[2] .. '\n' .. KEYS[2])
else
  redis.call('RPUSH', KEYS[5], ARGV[2])
  redis.call('EXPIRE', KEYS[5], 60)
  redis.call('DEL', KEYS[1])
  -- whoever gives a job back lives: this try took no worker down
  if tonumber(redis.call('GET', KEYS[4]) or '0') > 0 then redis.call('DECR', KEYS[4]) end
end
return 1
