-- Refuse the user's tokens issued until now, and tell who reads the channel.
-- KEYS mark   ARGV channel, payload, milliseconds the mark lives
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], now, 'PX', ARGV[3])
redis.call(PUBLISH, ARGV[1], ARGV[2])
return now
