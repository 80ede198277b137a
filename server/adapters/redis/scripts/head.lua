-- uses: head
-- The head of a channel, created where there is none, its life renewed.
-- KEYS head, log   ARGV user, channel, new epoch
-- Returns {user, epoch, offset}.
local offset = open_head()
renew_head()
return {redis.call('HGET', KEYS[1], 'user'), epoch, offset}
