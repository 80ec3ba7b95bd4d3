-- Takes up to `wanted` jobs from a queue: those whose lease nobody holds, oldest first. Redis' clock alone counts.
-- KEYS: queue
-- ARGV: lease prefix, token, wanted, lease ms, how many entries to look at
-- Returns the ids taken, each followed by its score.
local now = redis.call('TIME')
local waiting = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000),
  'WITHSCORES', 'LIMIT', 0, ARGV[5])
local taken = {}
local wanted = tonumber(ARGV[3])
for i = 1, #waiting, 2 do
  if #taken >= wanted * 2 then break end
  if redis.call('SET', ARGV[1] .. waiting[i], ARGV[2], 'NX', 'PX', ARGV[4]) then
    taken[#taken + 1] = waiting[i]
    taken[#taken + 1] = waiting[i + 1]
  end
end
return taken
