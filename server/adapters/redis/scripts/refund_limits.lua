-- Give a reservation back.
-- KEYS one hash per window   ARGV cost, then the slice of each window
for i, key in ipairs(KEYS) do
  local slice = ARGV[i + 1]
  local count, last = string.match(redis.call('HGET', key, slice) or '', '^(%d+):(%d+)$')
  if count then
    if tonumber(count) > tonumber(ARGV[1]) then
      redis.call('HSET', key, slice, (count - ARGV[1]) .. ':' .. last)
    else
      redis.call('HDEL', key, slice)
    end
  end
end
return 1
