-- Counts loads whose process has ended: of one host once, however many of its processes it took at the same time.
-- KEYS: loads of a file
-- ARGV: ms until what is known of the file goes, then pairs: field of the load, field of its host's count
local counted = {}
for i = 2, #ARGV, 2 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 and not counted[ARGV[i + 1]] then
    redis.call('HINCRBY', KEYS[1], ARGV[i + 1], 1)
    counted[ARGV[i + 1]] = true
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.status_reply('OK')
