-- Everything held of a generation.
-- KEYS generation, text, mark of the end
-- Returns {fields, text, mark or empty}, nil where there is none.
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then
  return false
end
return {fields, redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''}
