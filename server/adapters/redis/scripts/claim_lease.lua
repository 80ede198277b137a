-- Take a lease that is over, or has no more than some time left; of several that ask, one gets it.
-- KEYS leases   ARGV lease, milliseconds, milliseconds that may be left to it
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not deadline or tonumber(deadline) > now + ARGV[3] then
  return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return 1
