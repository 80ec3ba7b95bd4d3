-- A response's record together with what all its ancestors hold, in one round trip.
-- KEYS: record
-- ARGV: prefix of records
-- Returns false, or {fields of the record, {input, response, input, response ...} of the ancestors, oldest first}.
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then return false end
local chain = {}
for _, id in ipairs(cjson.decode(redis.call('HGET', KEYS[1], 'ancestors') or '[]')) do
  local pair = redis.call('HMGET', ARGV[1] .. id, 'input', 'response')
  chain[#chain + 1] = pair[1]
  chain[#chain + 1] = pair[2]
end
return {fields, chain}
