-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- After history.lua. KEYS: 6 dedupe key
-- ARGV: 3 the event, 4 events to keep, 5 retention in ms, 6 channel, 7 dedupe window in ms
-- Returns epoch and offset, as announced, ':', 1 if the dedupe key was known else 0: one text is cheaper than three.
local known = texts[4]
if known then
  return epoch .. known .. ':1'
end
-- The clock: what came after an offset is no older than the offset's mark. Sixteen marks in a retention are enough, and
-- the tick is there until the next one is due.
if not tick then
  local now, retention = milliseconds(), tonumber(ARGV[5])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - retention))
  redis.call('ZADD', KEYS[1], now, string.format('%.0f', head))
  redis.call('SET', KEYS[5], '', 'PX', math.max(1, math.floor(retention / 16)))
end
local offset = string.format('%.0f', redis.call('INCR', KEYS[3]))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'e', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[6], offset, 'PX', ARGV[7])
local place = epoch .. offset .. ':'
redis.call('PUBLISH', ARGV[6], 'E' .. place .. ARGV[3])
return place .. '0'
