-- A page of a conversation's items.
-- KEYS: conversation, order, items
-- ARGV: owner, how many, whether newest first (1 or 0), id of the item before the page (or '')
-- Returns {0, item, item ...} with one item more than wanted where there are more, {1} when this owner has no such
-- conversation, or {2} when the item before the page is not in it.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {1} end
local newest_first = ARGV[3] == '1'
local start = 0
if ARGV[4] ~= '' then
  local rank = redis.call(newest_first and 'ZREVRANK' or 'ZRANK', KEYS[2], ARGV[4])
  if not rank then return {2} end
  start = rank + 1
end
local ids = redis.call(newest_first and 'ZREVRANGE' or 'ZRANGE', KEYS[2], start, start + ARGV[2])
if #ids == 0 then return {0} end
local items = redis.call('HMGET', KEYS[3], unpack(ids))
table.insert(items, 1, 0)
return items
