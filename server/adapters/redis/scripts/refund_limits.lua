-- Give a reservation back.
-- KEYS one hash per window   ARGV cost, then the slice of each window
for i, key in ipairs(KEYS) do
  local slice = ARGV[i + 1]
  local count = tonumber(redis.call('HGET', key, slice))
  if count then
    if count > tonumber(ARGV[1]) then
      redis.call('HINCRBY', key, slice, -ARGV[1])
    else
      redis.call('HDEL', key, slice)
    end
  end
end
return 1
