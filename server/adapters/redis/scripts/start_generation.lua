-- uses: head
-- Begin a generation and tell it, only if it is absent.
-- KEYS head, log, generation, text, active
-- ARGV user, channel, new epoch, generation, milliseconds it may take, number of fields, field, value, ...,
--      then kind, body of each event in order
-- Returns {1 if begun now, owner, attempt, started_ms}.
local there = redis.call('HMGET', KEYS[3], 'owner', 'attempt', 'started_ms')
if there[1] then
  return {0, there[1], tonumber(there[2]), tonumber(there[3])}
end
open_head()
local now = now_ms()
local fields = {}
local last = 6 + 2 * ARGV[6]
for i = 7, last do
  fields[#fields + 1] = ARGV[i]
end
redis.call('HSET', KEYS[3], 'started_ms', now, 'deadline_ms', now + ARGV[5], unpack(fields))
redis.call('SET', KEYS[4], '')
-- Running state is swept by its lease. This life is only for what nobody ever sweeps.
redis.call('PEXPIRE', KEYS[3], ARGV[5] + RECORD_MS)
redis.call('PEXPIRE', KEYS[4], ARGV[5] + RECORD_MS)
redis.call('SADD', KEYS[5], ARGV[4])
for i = last + 1, #ARGV, 2 do
  emit(ARGV[i], ARGV[4], ARGV[i + 1])
end
local begun = redis.call('HMGET', KEYS[3], 'owner', 'attempt')
return {1, begun[1], tonumber(begun[2]), now}
