-- Deletes a conversation and its items. A response that runs on it goes on and finds nothing to add its items to.
-- KEYS: conversation, order, items, by whom it was deleted
-- ARGV: owner, token, s for which a retried call is known
-- Returns 0 when this owner has no such conversation, 1 when done.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return redis.call('GET', KEYS[4]) == ARGV[2] and 1 or 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[3])
return 1
