-- Writes a new conversation with its first items.
-- KEYS: conversation, order, items
-- ARGV: owner, created at, metadata, ttl s, bytes of text in the items, their calls, then id, item, id, item ...
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end  -- a retried call
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'created_at', ARGV[2], 'metadata', ARGV[3])
add_items(KEYS[1], KEYS[2], KEYS[3], 7, #ARGV, ARGV[5], ARGV[6])
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[4])
return 1
