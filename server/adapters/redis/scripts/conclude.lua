-- uses: head
-- Publish the end of a sealed generation, once; its windows start to run.
-- KEYS head, log, generation, text, active, sealed, mark of the end
-- ARGV user, channel, new epoch, generation, 1 if persisted, event
-- Returns {'ok', epoch, offset}, {'already'}, or {'gone', length}.
local g = redis.call('HMGET', KEYS[3], 'status', 'length')
local persisted = ARGV[5] == '1'
-- The mark outlives the state, so an end told again long after it is still told once.
if g[1] == 'concluded' then
  return {'already'}
end
if redis.call('EXISTS', KEYS[7]) == 1 then
  -- whatever state there is came back after its end was told
  redis.call('SREM', KEYS[5], ARGV[4])
  if g[1] then
    redis.call('HSET', KEYS[3], 'status', 'concluded', 'concluded_ms', now_ms())
    redis.call('PEXPIRE', KEYS[4], TEXT_MS)
  end
  return {'already'}
end
if g[1] == 'running' then
  -- The store has lost the seal; another attempt may be on its way.
  return {'gone', tonumber(g[2])}
end
if not g[1] and not persisted then
  -- The record is nowhere but with the caller, who restores it first.
  return {'gone', -1}
end
open_head()
local offset = emit('generation.finished', ARGV[4], ARGV[6])
redis.call('SET', KEYS[7], epoch .. ' ' .. offset, 'PX', LOG_MS)
redis.call('SREM', KEYS[5], ARGV[4])
if g[1] then
  redis.call('HSET', KEYS[3], 'status', 'concluded', 'concluded_ms', now_ms())
  redis.call('PEXPIRE', KEYS[4], TEXT_MS)
  if persisted then
    redis.call('HSET', KEYS[3], 'persisted', 1)
    redis.call('PEXPIRE', KEYS[3], TEXT_MS)
  else
    redis.call('PEXPIRE', KEYS[3], RECORD_MS)
  end
end
if persisted then
  redis.call('SREM', KEYS[6], ARGV[4])
end
return {'ok', epoch, offset}
