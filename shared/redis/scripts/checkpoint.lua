-- Notes on a response's record how far its worker is. Only the lease holder may.
-- KEYS: lease, record, job
-- ARGV: token, checkpoint
-- Returns 0 when the lease is lost, 1 when done.
if not holds(KEYS[1], KEYS[2], KEYS[3], ARGV[1]) then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'checkpoint', ARGV[2]) end
return 1
