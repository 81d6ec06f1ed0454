-- Reads a part of a room's log and where the whole log stands, as of one moment.
-- After history.lua.
-- ARGV: 3 'after' or 'newest', 4 an offset ('' with 'newest': no bound), 5 how many entries, 6 retention in ms
-- Returns {epoch, head, floor, began, 1 if entries were ever dropped, id of the oldest entry or '', entries}; entries are
-- oldest first with 'after' and newest first with 'newest'.
local since = string.format('%.0f', milliseconds() - tonumber(ARGV[6]))
local marks = redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf', 'LIMIT', 0, 1)
local floor = marks[1] or string.format('%.0f', head)
local trimmed, oldest = 0, ''
if redis.call('EXISTS', KEYS[2]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  local length, added = 0, 0
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'first-entry' and info[i + 1] then oldest = info[i + 1][1] end
  end
  if added > length then trimmed = 1 end
end
local entries = {}
if tonumber(ARGV[5]) > 0 then
  if ARGV[3] == 'after' then
    entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[4] .. '-0', '+', 'COUNT', ARGV[5])
  elseif ARGV[4] == '' then
    entries = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[5])
  else
    entries = redis.call('XREVRANGE', KEYS[2], '(' .. ARGV[4] .. '-0', '-', 'COUNT', ARGV[5])
  end
end
return { epoch, string.format('%.0f', head), floor, began, trimmed, oldest, entries }
