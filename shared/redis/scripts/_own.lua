-- Leases a job that nobody holds to `token`, also where it is leased to that already (a retried call). False where
-- somebody else holds it.
local function own(lease, token, ms)
  if redis.call('SET', lease, token, 'NX', 'PX', ms) then return true end
  if redis.call('GET', lease) ~= token then return false end
  redis.call('PEXPIRE', lease, ms)
  return true
end
