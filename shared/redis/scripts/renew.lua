-- Renews leases, and tells which responses somebody wants cancelled.
-- KEYS: lease, record, lease, record ...
-- ARGV: lease ms, token, token ... (one for each lease)
-- Returns for each: 0 the lease is lost, 1 renewed, 2 renewed and to be cancelled.
local answer = {}
for i = 1, #KEYS / 2 do
  local lease = KEYS[2 * i - 1]
  if redis.call('GET', lease) ~= ARGV[i + 1] then
    answer[i] = 0
  else
    redis.call('PEXPIRE', lease, ARGV[1])
    local record = redis.call('HMGET', KEYS[2 * i], 'status', 'cancel')
    answer[i] = (record[2] or not record[1]) and 2 or 1
  end
end
return answer
