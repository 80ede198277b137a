-- Leases whose time is over, oldest first; and a note of since when there has been somebody to renew them here.
-- It is lost with the leases, and begins anew where nobody has swept for a while: the store was away.
-- KEYS leases, watch   ARGV how many at most, the while in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local swept = redis.call('HGET', KEYS[2], 'swept')
if not swept or now - swept > tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[2], 'since', now)
end
redis.call('HSET', KEYS[2], 'swept', now)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
