-- Makes the record of a queued response say that it runs. Only the lease holder may.
-- KEYS: lease, record
-- ARGV: token, response
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('HGET', KEYS[2], 'status') == 'queued' then
  redis.call('HSET', KEYS[2], 'status', 'in_progress', 'response', ARGV[2])
end
return 1
