-- Takes up to `wanted` jobs from a queue. First those that a lost worker left behind or a stopping one gave back, oldest
-- first. Then of the owner who runs the fewest (of several the one who has not been served for longest) the oldest, again
-- and again; an owner with a share never runs more than that, on all models together.
-- What runs is what has a lease: nothing is counted up and down, so nothing drifts when workers die. The cost grows with
-- the jobs that run and the owners that wait, not with the jobs that wait.
-- KEYS: queue, claimed, owners, shares, deadlines
-- ARGV: lease prefix, prefix of this queue's lanes, prefix of held jobs, token, wanted, lease ms, ms until the lists of
--       what is claimed and held go, prefix of jobs, prefix of records, prefix of tries, suspects wanted, tries of one,
--       then the jobs that run here: if a lease of theirs has lapsed, it is renewed
-- Returns how many suspects were passed over, then the ids taken, each followed by its score and whether it is a suspect
-- (1 or 0). What is leased to this very token already was taken by a call whose answer was lost: it is taken again.
if redis.call('ZCARD', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
  return {0}
end
local wanted = tonumber(ARGV[5])
local suspects = tonumber(ARGV[11])
local shares, running, taken = {}, {}, {0}
local places = wanted

local function share_of(owner)
  if shares[owner] == nil then shares[owner] = tonumber(redis.call('HGET', KEYS[4], owner) or 0) end
  return shares[owner]
end

-- How many more jobs an owner may run.
local function room(owner)
  local share = share_of(owner)
  if share == 0 then return math.huge end
  local held = ARGV[3] .. owner
  local live = 0
  for _, id in ipairs(redis.call('SMEMBERS', held)) do
    if redis.call('EXISTS', ARGV[1] .. id) == 1 then
      live = live + 1
    elseif redis.call('EXISTS', ARGV[8] .. id) == 0 then
      redis.call('SREM', held, id)
    end
  end
  return share - live
end

-- Notes a job that the caller has the lease of.
local function took(id, owner, score, suspect)
  running[owner] = (running[owner] or 0) + 1
  taken[#taken + 1] = id
  taken[#taken + 1] = score
  taken[#taken + 1] = suspect and 1 or 0
  places = places - 1
end

-- Leases a job; false when somebody holds it, who is then ending it.
local function take(id, owner, score, suspect)
  redis.call('HSET', KEYS[2], id, owner)
  if not redis.call('SET', ARGV[1] .. id, ARGV[4], 'NX', 'PX', ARGV[6]) then return false end
  if share_of(owner) > 0 then
    redis.call('SADD', ARGV[3] .. owner, id)
    redis.call('PEXPIRE', ARGV[3] .. owner, ARGV[7])
  end
  took(id, owner, score, suspect)
  return true
end

local here = {}
for i = 13, #ARGV do here[ARGV[i]] = true end

local left, mine = {}, {}
local claimed = redis.call('HGETALL', KEYS[2])
for i = 1, #claimed, 2 do
  local id, owner = claimed[i], claimed[i + 1]
  local holder = here[id] or redis.call('GET', ARGV[1] .. id)
  if holder and holder ~= ARGV[4] then
    running[owner] = (running[owner] or 0) + 1
  else
    local score = redis.call('ZSCORE', KEYS[1], id)
    if not score then
      redis.call('HDEL', KEYS[2], id)
    elseif holder then
      mine[#mine + 1] = {id, owner, score}
    else
      left[#left + 1] = {id, owner, score}
    end
  end
end
local function older(a, b)
  local first, second = tonumber(a[3]), tonumber(b[3])
  return first < second or first == second and a[1] < b[1]
end
table.sort(mine, older)
table.sort(left, older)
local function is_suspect(id)
  return tonumber(redis.call('GET', ARGV[10] .. id) or 0) >= tonumber(ARGV[12])
end
for _, job in ipairs(mine) do  -- a retried call
  local id, owner, score = unpack(job)
  local suspect = is_suspect(id)
  if suspect then suspects = suspects - 1 end
  took(id, owner, score, suspect)
end
for _, job in ipairs(left) do  -- whatever the share: somebody is in the middle of reading these
  if places == 0 and #mine == 0 then break end
  local id, owner, score = unpack(job)
  local suspect = is_suspect(id)
  if suspect and suspects <= 0 then
    taken[1] = taken[1] + 1
  elseif places > 0 then
    if suspect then suspects = suspects - 1 end
    take(id, owner, score, suspect)
    local deadline = id .. '\n' .. KEYS[1]
    if redis.call('ZREM', KEYS[5], deadline .. '\nlost') == 1 then redis.call('ZADD', KEYS[5], 0, deadline) end
  end
end

-- Who may be served, longest unserved first; as many as it takes to know who runs the fewest.
local eligible, idle, from = {}, 0, 0
while places > 0 and idle < wanted do
  local page = redis.call('ZRANGE', KEYS[3], from, from + 31)
  local known = #page > 0 and redis.call('HMGET', KEYS[4], unpack(page))
  for i, owner in ipairs(page) do
    shares[owner] = tonumber(known[i] or 0)
    local more = room(owner)
    if more > 0 then
      eligible[#eligible + 1] = {owner, more}
      if not running[owner] then idle = idle + 1 end
    end
  end
  from = from + #page
  if #page < 32 then break end
end

local function fewest()
  local best
  for i, entry in ipairs(eligible) do
    local runs = running[entry[1]] or 0
    if not best or runs < best[2] then best = {i, runs} end
  end
  return best[1]
end

local now = redis.call('TIME')
local rank = now[1] * 1000000 + now[2]
while places > 0 and #eligible > 0 do
  local entry = table.remove(eligible, fewest())
  local owner, lane = entry[1], ARGV[2] .. entry[1]
  local first = redis.call('ZPOPMIN', lane)
  if first[1] then
    local score = redis.call('ZSCORE', KEYS[1], first[1])  -- without one it was cancelled meanwhile
    if score and take(first[1], owner, score) then
      entry[2] = entry[2] - 1
      rank = rank + 1
      redis.call('ZADD', KEYS[3], rank, owner)
      if entry[2] > 0 then eligible[#eligible + 1] = entry end
    else
      table.insert(eligible, 1, entry)
    end
  end
  if redis.call('EXISTS', lane) == 0 then redis.call('ZREM', KEYS[3], owner) end
end

-- What front ends of a version without lanes have brought, while both are there (a rolling deploy): oldest first, behind
-- all others. A response knows whose lane it is in; anything else is in one as long as there is one.
if places > 0 and redis.call('ZCARD', KEYS[1]) > redis.call('HLEN', KEYS[2]) then
  local lanes = redis.call('EXISTS', KEYS[3]) == 1
  local oldest = redis.call('ZRANGE', KEYS[1], 0, redis.call('HLEN', KEYS[2]) + 99, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if places == 0 then break end
    local id = oldest[i]
    if redis.call('HEXISTS', KEYS[2], id) == 0 then
      local record = redis.call('HMGET', ARGV[9] .. id, 'owner', 'lane')
      if redis.call('EXISTS', ARGV[8] .. id) == 0 then
        redis.call('ZREM', KEYS[1], id)
      elseif not record[2] and (record[1] or not lanes) and room(record[1] or '') > 0 then
        take(id, record[1] or '', oldest[i + 1])
      end
    end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return taken
