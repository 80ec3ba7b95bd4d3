-- Whether the caller may write for a job. Redis may have been away for longer than a lease lasts: who wrote last takes a
-- lapsed lease again where nobody else has written since. The record names who that was (`holder`, by every append), and
-- a job that has ended is not there any more. The next renewal gives the lease its own time.
local function holds(lease, record, job, token)
  local held = redis.call('GET', lease)
  if held then return held == token end
  local holder = redis.call('HGET', record, 'holder')
  if holder and holder ~= token or redis.call('EXISTS', job) == 0 then return false end
  redis.call('SET', lease, token, 'PX', 5000)
  return true
end
