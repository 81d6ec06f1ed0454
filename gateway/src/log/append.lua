-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- After history.lua. KEYS: 4 the room's stream, 5 dedupe key
-- ARGV: 3 the event, 4 events to keep, 5 retention in ms, 6 channel, 7 dedupe window in ms
-- Returns {epoch, offset, 1 if the dedupe key was known else 0}.
local known = redis.call('GET', KEYS[5])
if known then
  return { epoch, known, 1 }
end
local before = string.format('%.0f', head)
local offset = string.format('%.0f', redis.call('INCR', KEYS[1]))
-- The clock: what came after an offset is no older than the offset's mark. Sixteen marks in a retention are enough.
local retention = tonumber(ARGV[5])
local latest = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if not latest[2] or now - tonumber(latest[2]) >= retention / 16 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%.0f', now - retention))
  redis.call('ZADD', KEYS[3], now, before)
end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'e', ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[5])
redis.call('SET', KEYS[5], offset, 'PX', ARGV[7])
redis.call('PUBLISH', ARGV[6], 'E' .. epoch .. offset .. ':' .. ARGV[3])
return { epoch, offset, 0 }
