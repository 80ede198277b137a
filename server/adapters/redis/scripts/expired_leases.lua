-- Leases whose time is over, oldest first; and a note of since when there are leases here, which is lost with them.
-- KEYS leases, since   ARGV how many at most
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], now, 'NX')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
