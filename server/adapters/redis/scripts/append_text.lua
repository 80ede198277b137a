-- Append text to a running generation. The hot path: once per batch and generation.
-- KEYS generation, text   ARGV attempt, at, code points, text, channel, generation
-- Returns 2 * length + (1 if a stop was asked), or {why, ...}: {'gone', length}, {'sealed', record},
-- {'fenced', owner, attempt}.

-- Bytes that the first n code points of a UTF-8 string take.
local function bytes_of(s, n)
  local i, size = 1, #s
  while n > 0 and i <= size do
    local lead = string.byte(s, i)
    i = i + (lead < 0x80 and 1 or lead < 0xE0 and 2 or lead < 0xF0 and 3 or 4)
    n = n - 1
  end
  return i - 1
end

local g = redis.call('HMGET', KEYS[1], 'attempt', 'text_attempt', 'length', 'status', 'stop', 'losses')
local at, n, text = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

if g[4] ~= 'running' or g[1] ~= ARGV[1] or g[2] ~= ARGV[1] or g[3] ~= ARGV[2] then
  if not g[4] then
    return {'gone', -1}
  end
  local length, attempt = tonumber(g[3]), tonumber(ARGV[1])
  if g[4] ~= 'running' then
    return {'sealed', redis.call('HGET', KEYS[1], 'record')}
  end
  if tonumber(g[1]) > attempt then
    return {'fenced', redis.call('HGET', KEYS[1], 'owner'), tonumber(g[1])}
  end
  if tonumber(g[1]) < attempt or at > length then
    return {'gone', length}
  end
  local begins = redis.call('HGET', KEYS[1], 'begins')
  if g[2] ~= ARGV[1] then
    -- The attempt's first text. It may begin below the length: what stood there goes.
    if at < length then
      local held = redis.call('GET', KEYS[2])
      redis.call('SET', KEYS[2], string.sub(held, 1, bytes_of(held, at)), 'KEEPTTL')
    end
    begins = (begins == '' and '' or begins .. ' ') .. attempt .. ':' .. at
    redis.call('HSET', KEYS[1], 'text_attempt', attempt, 'begins', begins)
  else
    -- Told again after a lost reply. What is there already is passed over, the rest is new.
    if at < tonumber(string.match(begins, '(%d+)$')) then
      return {'gone', length}
    end
    local known = length - at
    if n <= known then
      return 2 * length + (g[5] == '1' and 1 or 0)
    end
    text = string.sub(text, bytes_of(text, known) + 1)
    at, n = length, n - known
  end
end

local length = at + n
redis.call('APPEND', KEYS[2], text)
if g[6] == '0' then
  redis.call('HSET', KEYS[1], 'length', length)
else
  redis.call('HSET', KEYS[1], 'length', length, 'losses', 0)
end
redis.call(PUBLISH, ARGV[5], table.concat({'t', ARGV[6], ARGV[1], g[2], at, length, text}, ' '))
return 2 * length + (g[5] == '1' and 1 or 0)
