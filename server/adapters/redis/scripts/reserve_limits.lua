-- Reserve in N sliding windows at once, or in none.
-- Each window is a hash of slices (a sixtieth of the window): `<used>:<ms into the slice of the last use>`. A slice
-- counts until its last use has left the window, so within any span as long as the window never more than the limit
-- is used, and what was used last is told to leave a window later.
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
    local slice = tonumber(held[j])
    local count, last = string.match(held[j + 1], '^(%d+):(%d+)$')
    local leaves = slice * width + tonumber(last) + span
    if leaves <= now then
      redis.call('HDEL', key, held[j])
    else
      slices[#slices + 1] = {slice, tonumber(count), leaves}
      used = used + tonumber(count)
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
        retry = slice[3] - now
        break
      end
    end
  end
  local slice, present = math.floor(now / width), slices[#slices]
  windows[i] = {key = key, slice = slice, span = span, width = width, limit = limit, used = used, retry = retry,
    present = present and present[1] == slice and present[2] or 0, first = slices[1]}
end
local reply = {allowed}
for _, w in ipairs(windows) do
  if allowed == 1 then
    redis.call('HSET', w.key, w.slice, (w.present + cost) .. ':' .. (now - w.slice * w.width))
    redis.call('PEXPIRE', w.key, w.span + 2 * w.width)
    w.used = w.used + cost
    if not w.first or w.first[1] == w.slice then
      w.first = {w.slice, w.present + cost, now + w.span}
    end
  end
  reply[#reply + 1] = w.slice
  reply[#reply + 1] = math.max(0, w.limit - w.used)
  reply[#reply + 1] = w.retry
  reply[#reply + 1] = w.first and w.first[3] - now or 0
end
return reply
