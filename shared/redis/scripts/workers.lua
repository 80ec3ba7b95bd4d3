-- What the live workers, or the known models, say of themselves; forgets those that are gone.
-- KEYS: set of ids
-- ARGV: prefix of their keys
local cards = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local card = redis.call('GET', ARGV[1] .. id)
  if card then cards[#cards + 1] = card else redis.call('SREM', KEYS[1], id) end
end
return cards
