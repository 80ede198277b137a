-- uses: head
-- Write a generation's state again from its owner's memory, where the store lost it or holds less.
-- KEYS head, log, generation, text, active, sealed, mark of the end
-- ARGV user, channel, new epoch, generation, attempt, owner, status, length, text attempt, deadline_ms, text,
--      1 if persisted, then field, value, ...
-- Returns 1, or 0 where another attempt has taken over, or where its end was told and its state has gone.
local attempt, length, text_attempt = tonumber(ARGV[5]), tonumber(ARGV[8]), tonumber(ARGV[9])
local g = redis.call('HMGET', KEYS[3], 'attempt', 'owner', 'status', 'length', 'text_attempt', 'stop')
if g[1] then
  local held = tonumber(g[1])
  if held > attempt or (held == attempt and g[2] ~= ARGV[6]) then
    return 0
  end
  local rank = {running = 1, sealed = 2, concluded = 3}
  if held == attempt and (rank[g[3]] > rank[ARGV[7]] or (g[3] == ARGV[7]
      and tonumber(g[5]) == text_attempt and tonumber(g[4]) >= length)) then
    return 1
  end
elseif redis.call('EXISTS', KEYS[7]) == 1 then
  return 0
end
open_head()
local now = now_ms()
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], 'attempt', attempt, 'owner', ARGV[6], 'status', ARGV[7], 'length', length,
  'text_attempt', text_attempt, 'deadline_ms', ARGV[10], 'persisted', ARGV[12], 'concluded_ms', now)
for i = 13, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
if g[6] == '1' then
  redis.call('HSET', KEYS[3], 'stop', 1)
end
local life = math.max(ARGV[10] - now, 0) + RECORD_MS
if ARGV[7] == 'concluded' then
  life = TEXT_MS
end
redis.call('SET', KEYS[4], ARGV[11], 'PX', life)
if ARGV[7] ~= 'running' and ARGV[12] ~= '1' then
  life = RECORD_MS
  redis.call('SADD', KEYS[6], ARGV[4])
  redis.call('PEXPIRE', KEYS[6], RECORD_MS + TEXT_MS)
end
redis.call('PEXPIRE', KEYS[3], life)
if ARGV[7] ~= 'concluded' then
  redis.call('SADD', KEYS[5], ARGV[4])
end
if ARGV[7] == 'running' then
  -- no more text: nodes that forgot it meanwhile look again
  redis.call(PUBLISH, ARGV[2], table.concat({'t', ARGV[4], text_attempt, text_attempt, length, length, ''}, ' '))
end
return 1
