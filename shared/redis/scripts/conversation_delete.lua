-- Deletes a conversation and its items. A response that runs on it goes on and finds nothing to add its items to.
-- KEYS: conversation, order, items
-- ARGV: owner
-- Returns 0 when this owner has no such conversation, 1 when done.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return 1
