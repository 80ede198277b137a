-- What refuses a verb of one generation. KEYS[3] is the generation.

-- nil, or the refusal of a verb that expects a running generation at `expected`.
local function refusal(expected)
  local g = redis.call('HMGET', KEYS[3], 'status', 'attempt', 'owner', 'length')
  if not g[1] then
    return {'gone', -1}
  end
  if g[1] ~= 'running' then
    return {'sealed', redis.call('HGET', KEYS[3], 'record')}
  end
  if tonumber(g[2]) > expected then
    return {'fenced', g[3], tonumber(g[2])}
  end
  if tonumber(g[2]) < expected then
    return {'gone', tonumber(g[4])}
  end
  return nil
end
