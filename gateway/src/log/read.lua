-- Reads a part of a room's log and where the whole log stands, as of one moment.
-- KEYS: 1 counter, 2 epoch, 3 the room's stream
-- ARGV: 1 'after' or 'newest', 2 an offset ('' with 'newest': no bound), 3 how many entries, 4 an epoch for a new history
-- Returns {epoch, head offset, 1 if entries were ever dropped, id of the oldest entry or '', entries oldest or newest first}.
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = ARGV[4]
  redis.call('SET', KEYS[2], epoch)
  redis.call('DEL', KEYS[1])
end
local head = redis.call('GET', KEYS[1]) or '0'
local trimmed, oldest = 0, ''
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[3])
  local length, added = 0, 0
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'first-entry' and info[i + 1] then oldest = info[i + 1][1] end
  end
  if added > length then trimmed = 1 end
end
local entries = {}
if tonumber(ARGV[3]) > 0 then
  if ARGV[1] == 'after' then
    entries = redis.call('XRANGE', KEYS[3], '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
  elseif ARGV[2] == '' then
    entries = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', ARGV[3])
  else
    entries = redis.call('XREVRANGE', KEYS[3], '(' .. ARGV[2] .. '-0', '-', 'COUNT', ARGV[3])
  end
end
return { epoch, head, trimmed, oldest, entries }
