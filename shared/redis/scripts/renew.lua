-- Renews leases, and tells which responses somebody wants cancelled.
-- KEYS: lease, record, job, lease, record, job ...
-- ARGV: lease ms, token, token ... (one for each lease)
-- Returns for each: 0 the lease is lost, 1 renewed, 2 renewed and to be cancelled.
local answer = {}
for i = 1, #KEYS / 3 do
  local lease, record, job = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  if not holds(lease, record, job, ARGV[i + 1]) then
    answer[i] = 0
  else
    redis.call('PEXPIRE', lease, ARGV[1])
    local found = redis.call('HMGET', record, 'status', 'cancel')
    answer[i] = (found[2] or not found[1]) and 2 or 1
  end
end
return answer
