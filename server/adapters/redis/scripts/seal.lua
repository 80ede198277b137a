-- uses: guard
-- Decide the end of a generation.
-- KEYS head, log, generation, text, active, sealed   ARGV generation, expected attempt, record
-- Returns {'ok'} or {why, ...}.
if redis.call('HGET', KEYS[3], 'record') == ARGV[3] then
  return {'ok'}
end
local refused = refusal(tonumber(ARGV[2]))
if refused then
  return refused
end
redis.call('HSET', KEYS[3], 'status', 'sealed', 'record', ARGV[3])
redis.call('SADD', KEYS[6], ARGV[1])
redis.call('PEXPIRE', KEYS[6], RECORD_MS + TEXT_MS)
redis.call('PEXPIRE', KEYS[3], RECORD_MS)
redis.call('PEXPIRE', KEYS[4], RECORD_MS)
return {'ok'}
