-- Enqueues a job that is no generation (a token count) and wakes one worker.
-- KEYS: job, queue, wake, claimed, owners, lane, shares, deadlines
-- ARGV: job id, job definition, terms (JSON)
-- Returns {0} when done (also when it had been done: a retried call), or {7, what `refusal` says}.
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
local terms = cjson.decode(ARGV[3])
local refused = refusal(KEYS, terms)
if refused then return {7, unpack(refused)} end
enqueue(KEYS, terms, ARGV[1], ARGV[2])
return {0}
