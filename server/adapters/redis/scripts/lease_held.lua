-- Whether somebody has a lease, or may have one: who had one when the leases were lost gets some time to say so.
-- KEYS leases, since   ARGV lease, milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if deadline and tonumber(deadline) > now then
  return 1
end
redis.call('SET', KEYS[2], now, 'NX')
return now - redis.call('GET', KEYS[2]) < tonumber(ARGV[2]) and 1 or 0
