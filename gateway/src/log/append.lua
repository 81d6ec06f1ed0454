-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- After history.lua. KEYS: 2 the room's stream, 8 dedupe key
-- ARGV: 4 the event, 5 events to keep, 6 channel, 7 dedupe window in ms, 8 what may be appended: 'any',
-- 'known' if only to a room that has something, 'nothing' if only the key is asked for, 9 the bytes beyond which the room is
-- cut, or 0 if it is not to be looked at, 10 to how many bytes
-- Returns epoch and offset, as announced, ':', 1 if the dedupe key was known else 0: one text is cheaper than three. Or why
-- nothing was appended: 'full', 'new'.
local known = texts[4]
if known then
  return epoch .. known .. ':1'
end
if ARGV[8] == 'nothing' then
  return 'full'
end
keep_clock(head)
local offset = digits(math.max(head + 1, microseconds()))
-- The first write but for the clock: what fails for want of memory fails here, and leaves nothing.
if ARGV[8] == 'known' then
  if not redis.call('XADD', KEYS[2], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[5], offset .. '-0', 'e', ARGV[4]) then
    return 'new'
  end
else
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], offset .. '-0', 'e', ARGV[4])
end
redis.call('SET', KEYS[3], offset)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('SET', KEYS[8], offset, 'PX', ARGV[7])
local place = epoch .. offset .. ':'
redis.call('PUBLISH', ARGV[6], 'E' .. place .. ARGV[4])
if ARGV[9] ~= '0' then
  -- In parts: the newest may be larger than the oldest. Without the right to ask, events are what bounds a room.
  for _ = 1, 8 do
    local bytes, length = redis.pcall('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', 0), redis.call('XLEN', KEYS[2])
    if type(bytes) ~= 'number' or bytes <= tonumber(ARGV[9]) or length < 2 then break end
    redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', math.max(1, math.floor(length * ARGV[10] / bytes)))
  end
end
return place .. '0'
