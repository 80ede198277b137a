-- uses: head
-- Entries after an offset, oldest first, about so many bytes of them.
-- KEYS head, log   ARGV user, channel, new epoch, epoch, after, limit in bytes
-- Returns {user, offset, body, offset, body, ...}; nil where the entries cannot be given without a hole.
local newest = open_head()
local after, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
if epoch ~= ARGV[4] or after > newest then
  return false
end
local reply = {redis.call('HGET', KEYS[1], 'user')}
local from, bytes = after + 1, 0
while from <= newest and bytes < limit do
  local page = redis.call('XRANGE', KEYS[2], from .. '-0', '+', 'COUNT', 32)
  for _, entry in ipairs(page) do
    local offset = tonumber(string.match(entry[1], '^%d+'))
    if offset ~= from then
      return false
    end
    local body = entry[2][2]
    -- The first one always goes; another one only while it fits.
    if bytes > 0 and bytes + #body > limit then
      return reply
    end
    bytes = bytes + #body
    from = from + 1
    reply[#reply + 1] = offset
    reply[#reply + 1] = body
  end
  if #page == 0 then
    return false
  end
end
return reply
