-- Generations that are sealed and not marked persisted.
-- KEYS sealed   ARGV prefix of the user's generations
local reply = {}
for _, generation in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. generation) == 1 then
    reply[#reply + 1] = generation
  else
    redis.call('SREM', KEYS[1], generation)
  end
end
return reply
