-- The sealed record is committed elsewhere; it may go with the text's window.
-- KEYS generation, sealed   ARGV generation
redis.call('SREM', KEYS[2], ARGV[1])
local g = redis.call('HMGET', KEYS[1], 'status', 'concluded_ms')
if g[1] and g[1] ~= 'running' then
  redis.call('HSET', KEYS[1], 'persisted', 1)
  if g[1] == 'concluded' then
    redis.call('PEXPIREAT', KEYS[1], g[2] + TEXT_MS)
  end
end
return 1
