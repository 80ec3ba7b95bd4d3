-- What the scripts that touch a conversation share; put in front of each of them.

-- The running response that holds a conversation, or false. One that has ended, is gone, or whose job was lost holds
-- nothing.
local function holder(conversation, record_prefix, job_prefix)
  local id = redis.call('HGET', conversation, 'response')
  if not id or redis.call('EXISTS', job_prefix .. id) == 0 then return false end
  local status = redis.call('HGET', record_prefix .. id, 'status')
  return (status == 'queued' or status == 'in_progress') and id
end

-- Keeps note of which calls wait for their output: `changes` is JSON, [[call id, kind of output or ''], ...].
local function note_calls(conversation, changes)
  if changes == '[]' then return end
  local waiting = cjson.decode(redis.call('HGET', conversation, 'waiting') or '{}')
  for _, change in ipairs(cjson.decode(changes)) do
    waiting[change[1]] = change[2] ~= '' and change[2] or nil
  end
  redis.call('HSET', conversation, 'waiting', cjson.encode(waiting))
end

-- Adds the items ARGV[from] (id), ARGV[from + 1] (encoded), ... ARGV[to] at the end; one that is there already stays.
local function add_items(conversation, order, items, from, to, bytes, calls)
  if from > to then return end
  for i = from, to, 2 do
    if redis.call('HSETNX', items, ARGV[i], ARGV[i + 1]) == 1 then
      redis.call('ZADD', order, redis.call('HINCRBY', conversation, 'next', 1) - 1, ARGV[i])
    end
  end
  redis.call('HINCRBY', conversation, 'bytes', bytes)
  redis.call('HINCRBY', conversation, 'version', 1)
  note_calls(conversation, calls)
end

-- The encoded items at positions below `before`, oldest first.
local function read_items(order, items, before)
  local ids = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. before)
  local found = {}
  for i = 1, #ids, 1000 do
    for _, item in ipairs(redis.call('HMGET', items, unpack(ids, i, math.min(i + 999, #ids)))) do
      found[#found + 1] = item
    end
  end
  return found
end

local function keep(conversation, order, items, seconds)
  for _, key in ipairs({conversation, order, items}) do redis.call('EXPIRE', key, seconds) end
end
