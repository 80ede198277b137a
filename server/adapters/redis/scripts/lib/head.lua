-- The head and the log of one user's channel.
--
-- Scripts that use this take KEYS[1] the head, KEYS[2] the log, ARGV[1] the user, ARGV[2] the user's
-- channel, ARGV[3] a random epoch to begin should one be needed.
--
-- A head written by another server process than the one that runs this script may have lost its tail:
-- everysec persistence and asynchronous replication both do. Offsets that were seen once would then be
-- given out again, a loss nobody notices. So such a head begins a new epoch, and a new log with it.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local epoch

local function renew_head()
  redis.call('PEXPIRE', KEYS[1], LOG_MS + 3600000)
end

-- Finds or begins the epoch; returns the offset of the newest event.
local function open_head()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
  if head[3] == run then
    epoch = head[1]
    return tonumber(head[2])
  end
  epoch = ARGV[3]
  if head[1] == epoch then
    epoch = epoch .. '0'
  end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'run', run, 'bytes', 0, 'user', ARGV[1])
  renew_head()
  return 0
end

-- Drops the oldest entries while the log is over its window. The newest entry always stays.
local function trim(newest, now)
  local bytes = tonumber(redis.call('HGET', KEYS[1], 'bytes'))
  local keep, from = nil, '-'
  while true do
    local entry = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 1)[1]
    local offset = tonumber(string.match(entry[1], '^%d+'))
    local fresh = newest - offset < LOG_EVENTS and bytes <= LOG_BYTES and tonumber(entry[2][4]) > now - LOG_MS
    if fresh or offset == newest then
      keep = offset
      break
    end
    bytes = bytes - #entry[2][2]
    from = '(' .. entry[1]
  end
  redis.call('XTRIM', KEYS[2], 'MINID', keep .. '-0')
  redis.call('HSET', KEYS[1], 'bytes', bytes)
end

-- Appends one event and tells the subscribers; returns its offset. The head must be open.
local function emit(kind, generation, body)
  local now = now_ms()
  local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
  if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('HSET', KEYS[1], 'bytes', 0)
  end
  redis.call('HINCRBY', KEYS[1], 'bytes', #body)
  redis.call('XADD', KEYS[2], offset .. '-0', 'body', body, 'at', now)
  trim(offset, now)
  redis.call('PEXPIRE', KEYS[2], LOG_MS)
  renew_head()
  redis.call(PUBLISH, ARGV[2], table.concat({'e', epoch, offset, kind, generation, body}, ' '))
  return offset
end
