-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- After history.lua. KEYS: 8 dedupe key
-- ARGV: 3 the event, 4 events to keep, 5 retention in ms, 6 channel, 7 dedupe window in ms
-- Returns epoch and offset, as announced, ':', 1 if the dedupe key was known else 0: one text is cheaper than three.
local known = texts[4]
if known then
  return epoch .. known .. ':1'
end
keep_clock(head, tonumber(ARGV[5]))
local offset = digits(math.max(head + 1, microseconds()))
redis.call('SET', KEYS[3], offset)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'e', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[8], offset, 'PX', ARGV[7])
local place = epoch .. offset .. ':'
redis.call('PUBLISH', ARGV[6], 'E' .. place .. ARGV[3])
return place .. '0'
