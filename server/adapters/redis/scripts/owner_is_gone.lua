-- Whether the owner of a generation that is not over has no connection here on which it hears orders: its
-- process is over, or cannot reach this server. Every process listens to its own channel at every server.
-- KEYS generation   ARGV prefix of the nodes' channels, the channel of the node that asks
local g = redis.call('HMGET', KEYS[1], 'status', 'owner')
if not g[2] or g[1] == 'concluded' then
  return 0
end
-- Where the asker is not heard either (all connect anew, a proxy keeps the subscriptions, the server does not
-- say), silence tells nothing: that is left to the lease.
local listening = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1] .. g[2], ARGV[2])
return listening[2] == 0 and (listening[4] or 0) > 0 and 1 or 0
