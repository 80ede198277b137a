-- Take one of a user's places for a session.
-- KEYS places   ARGV session, process, limit (0: none), session it replaces or '', milliseconds a place is kept,
--      the user's channel, processes known to be dead ...
-- The replaced session's place is the new one's only if one is granted; it is told then that it has to end.
-- Returns {1 if granted, places taken, processes that hold places ...} (the processes only when refused).
local dead = {}
for i = 7, #ARGV do
  dead[ARGV[i]] = true
end
if #ARGV > 6 then
  local held = redis.call('HGETALL', KEYS[1])
  for i = 1, #held, 2 do
    if dead[held[i + 1]] then
      redis.call('HDEL', KEYS[1], held[i])
    end
  end
end
local replaces = ARGV[4] ~= '' and ARGV[4] ~= ARGV[1] and redis.call('HEXISTS', KEYS[1], ARGV[4]) == 1
local limit = tonumber(ARGV[3])
local taken = redis.call('HLEN', KEYS[1]) - (replaces and 1 or 0)
if limit > 0 and taken >= limit and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  local reply = {0, taken}
  local seen = {}
  for _, process in ipairs(redis.call('HVALS', KEYS[1])) do
    if not seen[process] then
      seen[process] = true
      reply[#reply + 1] = process
    end
  end
  return reply
end
if replaces then
  redis.call('HDEL', KEYS[1], ARGV[4])
  redis.call(PUBLISH, ARGV[6], 'x ' .. ARGV[4])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {1, redis.call('HLEN', KEYS[1])}
