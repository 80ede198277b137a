-- uses: head
-- Append an event to the log and publish it, at most once per idempotency key.
-- KEYS head, log[, idempotency key]   ARGV user, channel, new epoch, kind, generation, body
-- Returns {epoch, offset}.
if KEYS[3] then
  local first = redis.call('GET', KEYS[3])
  if first then
    local first_epoch, first_offset = string.match(first, '^(%w+) (%d+)$')
    return {first_epoch, tonumber(first_offset)}
  end
end
open_head()
local offset = emit(ARGV[4], ARGV[5], ARGV[6])
if KEYS[3] then
  redis.call('SET', KEYS[3], epoch .. ' ' .. offset, 'PX', LOG_MS)
end
return {epoch, offset}
