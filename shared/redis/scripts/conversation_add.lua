-- Adds items to a conversation that no response runs on.
-- KEYS: conversation, order, items
-- ARGV: owner, prefix of records, prefix of jobs, ttl s, bytes of text in the items, their calls,
--       then id, item, id, item ...
-- Returns {0} when done, {1} when this owner has no such conversation, {2, id of the response that holds it}, or
-- {3, id of an item that is in it already}.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {1} end
local repeated, same = false, true
for i = 7, #ARGV, 2 do
  local item = redis.call('HGET', KEYS[3], ARGV[i])
  repeated = repeated or item and ARGV[i]
  same = same and item == ARGV[i + 1]
end
if repeated and same then return {0} end  -- all of them are there: a retried call
local held = holder(KEYS[1], ARGV[2], ARGV[3])
if held then return {2, held} end
if repeated then return {3, repeated} end
add_items(KEYS[1], KEYS[2], KEYS[3], 7, #ARGV, ARGV[5], ARGV[6])
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[4])
return {0}
