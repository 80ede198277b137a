-- Take or renew leases by the server's clock. A life of 0 gives them to whoever sweeps first.
-- KEYS leases   ARGV milliseconds, lease, lease, ...
local time = redis.call('TIME')
local deadline = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], deadline, ARGV[i])
end
return #ARGV - 1
