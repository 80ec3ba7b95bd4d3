-- How jobs come into a queue; put in front of the scripts that bring them.
-- `keys` are: job, queue, wake, claimed, owners, lane, shares, deadlines. `terms` is queue.Terms, from JSON.

-- Whether one more job of this owner would have to wait too long, or would be one too many. False, or {which of
-- 'queue' and 'wait', jobs waiting, ms it would wait or 0 where nobody knows, ms until it may come}.
local function refusal(keys, terms)
  local claimed = redis.call('HLEN', keys[4])
  local waiting = redis.call('ZCARD', keys[2]) - claimed
  local own = redis.call('ZCARD', keys[6])
  local owners = redis.call('ZCARD', keys[5]) + (own == 0 and 1 or 0)
  if waiting < 0 then waiting = 0 end
  -- owners take turns, so only so many of the others' jobs are run before this one
  local ahead = math.min(waiting, (own + 1) * owners - 1)
  local free = math.max(0, terms.slots - claimed)  -- which the first of those that wait are about to take
  local wait = math.max(0, ahead + 1 - free) * terms.interval_ms
  if terms.share > 0 and own > 0 then
    wait = math.max(wait, (own + 1) * terms.job_ms / terms.share)
  end
  local share = terms.max_queue / owners
  if terms.max_queue > 0 and waiting >= terms.max_queue and own >= share then
    return {'queue', waiting, math.floor(wait), math.ceil((own + 1 - share) * owners * terms.interval_ms)}
  end
  if terms.max_wait_ms > 0 and wait > terms.max_wait_ms then
    return {'wait', waiting, math.floor(wait), math.ceil(wait - terms.max_wait_ms)}
  end
  return false
end

-- Enqueues a job and wakes one worker.
local function enqueue(keys, terms, id, definition)
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  local rank = now[1] * 1000000 + now[2]
  redis.call('PSETEX', keys[1], terms.ttl_ms, definition)
  redis.call('ZADD', keys[2], ms, id)
  redis.call('ZADD', keys[5], 'NX', rank, terms.owner)
  redis.call('ZADD', keys[6], rank, id)
  if terms.share > 0 then
    redis.call('HSET', keys[7], terms.owner, terms.share)
  else
    redis.call('HDEL', keys[7], terms.owner)
  end
  redis.call('ZADD', keys[8], ms + terms.timeout_ms, id .. '\n' .. keys[2])
  local keep = 2 * math.max(terms.ttl_ms, 24 * 3600 * 1000)  -- the lists outlive whatever else is in them
  for _, i in ipairs({2, 4, 5, 6, 7}) do redis.call('PEXPIRE', keys[i], keep) end
  redis.call('RPUSH', keys[3], id)
  redis.call('EXPIRE', keys[3], 60)
end
