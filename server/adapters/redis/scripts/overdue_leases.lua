-- Leases that nobody renewed for a while, oldest first; not those whose time is over.
-- KEYS leases   ARGV milliseconds that are left to them at most, how many at most
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, now + ARGV[1], 'LIMIT', 0, ARGV[2])
