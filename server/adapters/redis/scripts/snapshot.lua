-- uses: head
-- The channel now: its head, the oldest entry, the running generations with their texts.
-- KEYS head, log, active   ARGV user, channel, new epoch, prefix of the user's keys
-- Returns {user, epoch, offset, oldest (0: none), now, {generation, text, its fields as below}, ...}.
local offset = open_head()
renew_head()
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local oldest = first and tonumber(string.match(first[1], '^%d+')) or 0
local reply = {redis.call('HGET', KEYS[1], 'user'), epoch, offset, oldest, now_ms()}
for _, generation in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local g = redis.call('HMGET', ARGV[4] .. 'gen:' .. generation, 'user', 'conversation', 'message', 'reply_to', 'model',
    'attempt', 'estimated_response_ms', 'is_free_model', 'started_ms', 'text_attempt', 'begins', 'length')
  if g[1] then
    reply[#reply + 1] = {generation, redis.call('GET', ARGV[4] .. 'text:' .. generation) or '', unpack(g)}
  else
    redis.call('SREM', KEYS[3], generation)
  end
end
return reply
