-- Keep what is known of an attempt, where the generation is there.
-- KEYS generation   ARGV attempt, note
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'note:' .. ARGV[1], ARGV[2])
end
return 1
