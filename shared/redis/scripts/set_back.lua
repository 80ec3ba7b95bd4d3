-- Forgets the workers that were lost with a response which goes on now, so many times in its life. Only the lease holder
-- may; its own try counts.
-- KEYS: lease, record, job, tries
-- ARGV: token, how many times
-- Returns 1 when done, 0 when the lease is lost, the response has ended, or that was done often enough.
if not holds(KEYS[1], KEYS[2], KEYS[3], ARGV[1]) or redis.call('EXISTS', KEYS[2], KEYS[4]) < 2 then return 0 end
if redis.call('GET', KEYS[4]) == '1' then return 1 end  -- a retried call
if redis.call('HINCRBY', KEYS[2], 'set_backs', 1) > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[4], 1, 'KEEPTTL')
return 1
