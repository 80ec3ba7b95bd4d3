-- Gives a conversation other metadata.
-- KEYS: conversation, order, items
-- ARGV: owner, metadata, ttl s
-- Returns false when this owner has no such conversation, else when it was created.
local found = redis.call('HMGET', KEYS[1], 'owner', 'created_at')
if found[1] ~= ARGV[1] then return false end
redis.call('HSET', KEYS[1], 'metadata', ARGV[2])
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[3])
return found[2]
