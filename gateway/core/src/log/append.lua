-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- After history.lua. KEYS: 2 the room's stream, 8 dedupe key, from 9 on those of outboxes that are told of it, see told.lua
-- ARGV: 4 the event, 5 events to keep, 6 channel, 7 dedupe window in ms, 8 what may be appended: 'any',
-- 'known' if only to a room that has something, 'nothing' if only the key is asked for, 9 the bytes beyond which the room is
-- cut, or 0 if it is not to be looked at, 10 to how many bytes, 11 the offset of the entry that this one takes back, or 0
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
-- For the archive: offsets are not dense, so each names the one before it. The node says which one it knows; only if another
-- came after that, the newest entry is read.
local before = ''
if KEYS[9] and ARGV[17] ~= '0' then
  before = ARGV[19]
  if before == '' or redis.call('XREAD', 'COUNT', 1, 'STREAMS', KEYS[2], before .. '-0') then
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    before = last and string.match(last[1], '^%d+') or ''
  end
end
-- The first write but for the clock: what fails for want of memory fails here, and leaves nothing.
if ARGV[8] == 'known' then
  if not redis.call('XADD', KEYS[2], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[5], offset .. '-0', 'e', ARGV[4]) then
    return 'new'
  end
else
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], offset .. '-0', 'e', ARGV[4])
end
if ARGV[11] ~= '0' and redis.call('XDEL', KEYS[2], ARGV[11] .. '-0') == 1 then
  -- It was not dropped for want of room: who reads compares how many there are with how many were added.
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then
      redis.call('XSETID', KEYS[2], offset .. '-0', 'ENTRIESADDED', info[i + 1] - 1)
    end
  end
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
if not KEYS[9] then
  return place .. '0'
end
