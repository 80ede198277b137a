-- Reserve in N sliding windows at once, or in none.
-- Each window is a hash of slices (a sixtieth of the window) with what was used in them. A slice counts until
-- its end has left the window, so within any span as long as the window never more than the limit is used.
-- KEYS one hash per window   ARGV cost, then limit, milliseconds of each window
-- Returns {allowed, slice, remaining, retry_after_ms, reset_ms, ...} (the last four per window).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cost = tonumber(ARGV[1])
local allowed, windows = 1, {}
for i, key in ipairs(KEYS) do
  local limit, span = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local width = math.max(1, math.floor(span / 60))
  local slices, used = {}, 0
  local held = redis.call('HGETALL', key)
  for j = 1, #held, 2 do
    local slice, count = tonumber(held[j]), tonumber(held[j + 1])
    -- A slice stands for its last moment.
    if (slice + 1) * width + span <= now then
      redis.call('HDEL', key, held[j])
    else
      slices[#slices + 1] = {slice, count}
      used = used + count
    end
  end
  table.sort(slices, function(a, b) return a[1] < b[1] end)
  local retry, freed = 0, 0
  if used + cost > limit then
    allowed = 0
    retry = span
    for _, slice in ipairs(slices) do
      freed = freed + slice[2]
      if used - freed + cost <= limit then
        retry = (slice[1] + 1) * width + span - now
        break
      end
    end
  end
  windows[i] = {key = key, slice = math.floor(now / width), span = span, width = width, limit = limit, used = used,
    retry = retry, first = slices[1] and slices[1][1]}
end
local reply = {allowed}
for _, w in ipairs(windows) do
  if allowed == 1 then
    redis.call('HINCRBY', w.key, w.slice, cost)
    redis.call('PEXPIRE', w.key, w.span + 2 * w.width)
    w.used = w.used + cost
    w.first = w.first or w.slice
  end
  reply[#reply + 1] = w.slice
  reply[#reply + 1] = math.max(0, w.limit - w.used)
  reply[#reply + 1] = w.retry
  reply[#reply + 1] = w.first and (w.first + 1) * w.width + w.span - now or 0
end
return reply
