-- Writes a response's record and its first events, enqueues its job and wakes one worker: all or nothing.
-- A response that belongs to a conversation holds it from here to its end.
-- KEYS: record, events, job, queue, wake, idempotency (or ''), conversation it begins with (or ''), its order, its
--       items, then the records of all ancestors
-- ARGV: response id, job definition, job ttl ms, record ttl s, idempotency ttl s, digest of the request,
--       conversation ttl s, prefix of records, prefix of jobs, version of the conversation and ids of the input (JSON)
--       where the response belongs to it (else '', ''), number of events, event ..., then field, value, field, value ...
-- Returns {0} when done (also when it had been done: a retried call), {1, position from 1 of a missing ancestor},
-- {2, response id, digest} of the request that had this idempotency key before, {3} when the conversation is gone,
-- {4, id of the response that holds it}, {5, id of an item that is in it already}, or {6} when it is not that version.
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
if KEYS[6] ~= '' then
  local earlier = redis.call('HMGET', KEYS[6], 'response', 'digest')
  if earlier[1] then return {2, earlier[1], earlier[2]} end
end
for i = 10, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {1, i - 9} end
end
local joins = ARGV[10] ~= ''
if KEYS[7] ~= '' then
  if redis.call('EXISTS', KEYS[7]) == 0 then return {3} end
  local held = joins and holder(KEYS[7], ARGV[8], ARGV[9])
  if held then return {4, held} end
  if joins and (redis.call('HGET', KEYS[7], 'version') or '0') ~= ARGV[10] then return {6} end
  for _, id in ipairs(joins and cjson.decode(ARGV[11]) or {}) do
    if redis.call('HEXISTS', KEYS[9], id) == 1 then return {5, id} end
  end
  keep(KEYS[7], KEYS[8], KEYS[9], ARGV[7])
end
for i = 10, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
local events = tonumber(ARGV[12])
redis.call('HSET', KEYS[1], unpack(ARGV, 13 + events))
if joins then redis.call('HSET', KEYS[7], 'response', ARGV[1]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
for i = 1, events do
  redis.call('XADD', KEYS[2], (i - 1) .. '-1', 'e', ARGV[12 + i])
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
if KEYS[6] ~= '' then
  redis.call('HSET', KEYS[6], 'response', ARGV[1], 'digest', ARGV[6])
  redis.call('EXPIRE', KEYS[6], ARGV[5])
end
local now = redis.call('TIME')
redis.call('PSETEX', KEYS[3], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[4], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('RPUSH', KEYS[5], ARGV[1])
redis.call('EXPIRE', KEYS[5], 60)
return {0}
