-- Whether somebody has a lease, or may have one: who had one when the leases were lost, or the store was away,
-- gets some time to say so.
-- KEYS leases, watch   ARGV lease, milliseconds, milliseconds without a sweep after which the store was away
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if deadline and tonumber(deadline) > now then
  return 1
end
local watch = redis.call('HMGET', KEYS[2], 'since', 'swept')
if not watch[1] or now - watch[2] > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'since', now, 'swept', now)
  return 1
end
return now - watch[1] < tonumber(ARGV[2]) and 1 or 0
