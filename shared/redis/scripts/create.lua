-- Writes a response's record and its first events, enqueues its job and wakes one worker: all or nothing.
-- A response that belongs to a conversation holds it from here to its end.
-- KEYS: job, queue, wake, claimed, owners, lane, shares, deadlines, record, events, idempotency (or ''), conversation it
--       begins with (or ''), its order, its items, then the records of all ancestors
-- ARGV: response id, job definition, terms (JSON), record ttl s, idempotency ttl s, digest of the request,
--       conversation ttl s, prefix of records, prefix of jobs, version of the conversation and ids of the input (JSON)
--       where the response belongs to it (else '', ''), number of events, event ..., then field, value, field, value ...
-- Returns {0} when done (also when it had been done: a retried call), {1, position from 1 of a missing ancestor},
-- {2, response id, digest} of the request that had this idempotency key before and whose response runs or has an
-- answer (the key is free again where that is gone, failed or cancelled, or is to be cancelled), {3} when the conversation is gone,
-- {4, id of the response that holds it}, {5, id of an item that is in it already}, {6} when it is not that version, or
-- {7, what `refusal` says}.
local record, events, idempotency = KEYS[9], KEYS[10], KEYS[11]
local conversation, order, items = KEYS[12], KEYS[13], KEYS[14]
if redis.call('EXISTS', record) == 1 then return {0} end
if idempotency ~= '' then
  local earlier = redis.call('HMGET', idempotency, 'response', 'digest')
  local was = earlier[1] and redis.call('HMGET', ARGV[8] .. earlier[1], 'status', 'cancel') or {}
  local runs = (was[1] == 'queued' or was[1] == 'in_progress') and not was[2]
  if runs or was[1] == 'completed' or was[1] == 'incomplete' then return {2, earlier[1], earlier[2]} end
end
for i = 15, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {1, i - 14} end
end
local joins = ARGV[10] ~= ''
if conversation ~= '' then
  if redis.call('EXISTS', conversation) == 0 then return {3} end
  local held = joins and holder(conversation, ARGV[8], ARGV[9])
  if held then return {4, held} end
  if joins and (redis.call('HGET', conversation, 'version') or '0') ~= ARGV[10] then return {6} end
  for _, id in ipairs(joins and cjson.decode(ARGV[11]) or {}) do
    if redis.call('HEXISTS', items, id) == 1 then return {5, id} end
  end
end
local terms = cjson.decode(ARGV[3])
local refused = refusal(KEYS, terms)
if refused then return {7, unpack(refused)} end
if conversation ~= '' then keep(conversation, order, items, ARGV[7]) end
for i = 15, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
local count = tonumber(ARGV[12])
redis.call('HSET', record, unpack(ARGV, 13 + count))
if joins then redis.call('HSET', conversation, 'response', ARGV[1]) end
redis.call('EXPIRE', record, ARGV[4])
for i = 1, count do
  redis.call('XADD', events, (i - 1) .. '-1', 'e', ARGV[12 + i])
end
redis.call('EXPIRE', events, ARGV[4])
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'response', ARGV[1], 'digest', ARGV[6])
  redis.call('EXPIRE', idempotency, ARGV[5])
end
enqueue(KEYS, terms, ARGV[1], ARGV[2])
return {0}
