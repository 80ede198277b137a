-- uses: head guard
-- Make the next attempt the present one, and tell it. From here on appends of the old one are fenced.
-- KEYS head, log, generation, text
-- ARGV user, channel, new epoch, generation, expected attempt, owner, model, 1 if free, 1 if a node was lost, event
-- Returns {'ok', epoch, offset} or {why, ...}; {'stopped'}: a stop was asked.
local expected = tonumber(ARGV[5])
local g = redis.call('HMGET', KEYS[3], 'status', 'attempt', 'owner', 'switched', 'stop')
if g[1] == 'running' and tonumber(g[2]) == expected + 1 and g[3] == ARGV[6] and g[4] then
  -- One's own switch, asked again after a lost reply.
  local first_epoch, first_offset = string.match(g[4], '^(%w+) (%d+)$')
  return {'ok', first_epoch, tonumber(first_offset)}
end
local refused = refusal(expected)
if refused then
  return refused
end
if g[5] == '1' then
  return {'stopped'}
end
open_head()
local offset = emit('generation.switched', ARGV[4], ARGV[10])
redis.call('HSET', KEYS[3], 'attempt', expected + 1, 'owner', ARGV[6], 'model', ARGV[7], 'is_free_model', ARGV[8],
  'switched', epoch .. ' ' .. offset)
if ARGV[9] == '1' then
  redis.call('HINCRBY', KEYS[3], 'losses', 1)
end
return {'ok', epoch, offset}
