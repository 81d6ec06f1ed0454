-- Reads a part of each of some rooms' logs and where the whole log stands, as of one moment.
-- After history.lua. KEYS: 2 the stream of the first room, 8... those of the others
-- ARGV: 4 'after' or 'newest', 5 how many entries of each, 6 how many bytes of them together, 7... an offset for each room ('' with
-- 'newest': no bound)
-- Returns {epoch, head, floor, began, before what all is in doubt or '' (it will be until then if nobody vouches), {of each room: 1 if entries were
-- ever dropped, id of the oldest entry or '', 1 if the bytes were not enough, entries}}; entries are oldest first with 'after' and newest
-- first with 'newest', and one at least if there is one.
local youngest = digits(milliseconds() - tonumber(ARGV[3]))
local marks = redis.call('ZRANGEBYSCORE', KEYS[1], youngest, '+inf', 'LIMIT', 0, 1)
local floor = marks[1] or digits(head)
local forward, wanted, left = ARGV[4] == 'after', tonumber(ARGV[5]), tonumber(ARGV[6])

local function part_of(stream, at)
  if redis.call('EXISTS', stream) == 0 then return { 0, '', 0, {} } end
  local trimmed, oldest = 0, ''
  local info = redis.call('XINFO', 'STREAM', stream)
  local length, added = 0, 0
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'first-entry' and info[i + 1] then oldest = info[i + 1][1] end
  end
  if added > length then trimmed = 1 end
  -- A few at a time, more each time: what does not fit is hardly read.
  local entries, cut, count = {}, 0, 4
  while #entries < wanted and cut == 0 do
    count = math.min(count * 2, wanted - #entries)
    local part
    if forward then
      part = redis.call('XRANGE', stream, '(' .. at .. '-0', '+', 'COUNT', count)
    else
      part = redis.call('XREVRANGE', stream, at == '' and '+' or '(' .. at .. '-0', '-', 'COUNT', count)
    end
    for _, entry in ipairs(part) do
      left = left - #entry[2][2]
      if left < 0 and #entries > 0 then
        cut = 1
        break
      end
      entries[#entries + 1] = entry
    end
    if #part < count then break end
    at = string.match(part[#part][1], '^%d+')
  end
  return { trimmed, oldest, cut, entries }
end

local parts = { part_of(KEYS[2], ARGV[7]) }
for number = 8, #KEYS do
  parts[#parts + 1] = part_of(KEYS[number], ARGV[number])
end
local in_doubt_before = ''
if doubt ~= '0' then
  in_doubt_before = digits(math.max(head + 1, doubt * 1000))
end
return { epoch, digits(head), floor, began, in_doubt_before, parts }
