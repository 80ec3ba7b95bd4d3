-- Removes what there is of a response that nobody can read or end, whatever it is. Nobody may while another one holds
-- the lease.
-- KEYS: lease, record, events
-- ARGV: token
-- Returns 0 when another one holds it, 1 when done.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2], KEYS[3])
return 1
