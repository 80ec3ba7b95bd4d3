-- A response's record together with what its conversation and all its ancestors hold, in one round trip.
-- KEYS: record
-- ARGV: prefixes of records, of conversations, of their orders and of their items
-- Returns false where it is gone or has ended, or {{response, request, owner, input, files (only those that a conversation
-- is to have: nobody else who runs a response reads them), cancel, front, checkpoint},
-- {input, response, input, response ...} of the ancestors, oldest first,
-- {item, item ...} of the conversation it begins with, or false where that is gone}.
local record = redis.call('HMGET', KEYS[1], 'ancestors', 'conversation', 'before', 'request')
if not record[4] then return false end
local fields = redis.call(
  'HMGET', KEYS[1], 'response', 'request', 'owner', 'input', record[2] and 'files' or '', 'cancel', 'front', 'checkpoint')
local chain = {}
for _, id in ipairs(cjson.decode(record[1] or '[]')) do
  local pair = redis.call('HMGET', ARGV[1] .. id, 'input', 'response')
  chain[#chain + 1] = pair[1]
  chain[#chain + 1] = pair[2]
end
local opening = {}
if record[2] then
  opening = redis.call('EXISTS', ARGV[2] .. record[2]) == 1
    and read_items(ARGV[3] .. record[2], ARGV[4] .. record[2], record[3])
end
return {fields, chain, opening}
