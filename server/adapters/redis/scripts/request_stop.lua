-- Store the intent to stop, and tell the owner's node.
-- KEYS generation   ARGV user, generation, prefix of the nodes' channels
-- Returns the status, nil where there is no such generation.
local g = redis.call('HMGET', KEYS[1], 'status', 'owner')
if g[1] == 'running' then
  redis.call('HSET', KEYS[1], 'stop', 1)
  -- A node's channel is in no user's slot, so it is never a sharded one.
  redis.call('PUBLISH', ARGV[3] .. g[2], 'stop ' .. ARGV[1] .. ' ' .. ARGV[2])
end
return g[1]
