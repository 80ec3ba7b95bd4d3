-- Removes what there is of a response that nobody can read or end, whatever it is. Only who holds the lease may.
-- KEYS: lease, record, events
-- ARGV: token
-- Returns 0 when the lease is lost, 1 when done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2], KEYS[3])
return 1
