-- Takes one item out of a conversation that no response runs on; it may be gone already.
-- KEYS: conversation, order, items
-- ARGV: owner, prefix of records, prefix of jobs, ttl s, item id, bytes of its text, its calls
-- Returns {0} when done, {1} when this owner has no such conversation, {2, id of the response that holds it}.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {1} end
if redis.call('HEXISTS', KEYS[3], ARGV[5]) == 0 then return {0} end  -- a retried call
local held = holder(KEYS[1], ARGV[2], ARGV[3])
if held then return {2, held} end
redis.call('HDEL', KEYS[3], ARGV[5])
redis.call('ZREM', KEYS[2], ARGV[5])
redis.call('HINCRBY', KEYS[1], 'bytes', -tonumber(ARGV[6]))
redis.call('HINCRBY', KEYS[1], 'version', 1)
note_calls(KEYS[1], ARGV[7])
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[4])
return {0}
