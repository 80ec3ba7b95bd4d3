-- Ends a response: last events, final record, time to live, lease, job and conversation, at once. Only the lease holder
-- may; to its conversation it adds items only while that names it as its holder.
-- KEYS: lease, events, record, queue, job, retry, conversation (or ''), its order, its items, claimed, deadlines
-- ARGV: token, events channel, end channel, job id, status, response, record ttl s, log ttl s, bytes of output text,
--       stored (1 or 0), conversation ttl s, bytes of text in the items for it, their calls, number of them, id, item, id,
--       item ..., sequence number of the first event (after a ! where the end may follow a hole), event, event ... (the
--       last one is the terminal event)
-- Returns 0 when the lease is lost, 1 when done (also when it had been done: a retried call, known by its token beside the
-- terminal event), or -1 - length where the log ends before the first event: nothing was done.
if not holds(KEYS[1], KEYS[3], KEYS[5], ARGV[1]) then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  return last and last[2][2] == ARGV[#ARGV] and last[2][4] == ARGV[1] and 1 or 0
end
local at = 15 + 2 * ARGV[14]  -- where the sequence number is
local torn = string.sub(ARGV[at], 1, 1) == '!'
if torn then ARGV[at] = string.sub(ARGV[at], 2) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  local lane = redis.call('HGET', KEYS[3], 'lane')
  if lane then redis.call('ZREM', lane, ARGV[4]) end  -- where it is when it ends before anybody claims it
  local length = redis.call('XLEN', KEYS[2])
  local first = tonumber(ARGV[at])
  if first > length and not torn then return -1 - length end
  for i = at + 1 + math.max(length - first, 0), #ARGV do
    local entry = {(first + i - at - 1) .. '-1', 'e', ARGV[i]}
    if i == #ARGV then entry[4], entry[5] = 'by', ARGV[1] end
    redis.call('XADD', KEYS[2], unpack(entry))
  end
  redis.call('HSET', KEYS[3], 'status', ARGV[5], 'response', ARGV[6])
  redis.call('HINCRBY', KEYS[3], 'context_bytes', ARGV[9])
  redis.call('HDEL', KEYS[3], 'cancel', 'request', 'checkpoint', 'holder', 'lane', 'set_backs')
  if redis.call('HEXISTS', KEYS[3], 'deleted') == 1 then  -- while it ran: its followers still read the end
    redis.call('EXPIRE', KEYS[2], 60)
    redis.call('DEL', KEYS[3])
  else
    redis.call('EXPIRE', KEYS[2], ARGV[8])
    redis.call('EXPIRE', KEYS[3], ARGV[10] == '1' and ARGV[7] or ARGV[8])
  end
end
if KEYS[7] ~= '' and redis.call('HGET', KEYS[7], 'response') == ARGV[4] then
  redis.call('HDEL', KEYS[7], 'response')
  add_items(KEYS[7], KEYS[8], KEYS[9], 15, at - 1, ARGV[12], ARGV[13])
  keep(KEYS[7], KEYS[8], KEYS[9], ARGV[11])
end
redis.call('ZREM', KEYS[4], ARGV[4])
redis.call('HDEL', KEYS[10], ARGV[4])
redis.call('ZREM', KEYS[11], ARGV[4] .. '\n' .. KEYS[4])
redis.call('DEL', KEYS[1], KEYS[5], KEYS[6])
redis.call('PUBLISH', ARGV[2], table.concat(ARGV, '\n', at))
redis.call('PUBLISH', ARGV[3], ARGV[#ARGV])
return 1
