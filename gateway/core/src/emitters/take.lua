-- Hands entries of the stream to the node whose turn it is, and to nobody else: in the order of the stream, as one reads.
-- KEYS: 1 the key that says whose turn it is, 2 the stream. ARGV: 1 what that holds in the turn of who asks, 2 the group, 3 who
-- asks, 4 how many at the most, 5 from which id on those that were handed out before and not acknowledged; nothing for new
-- ones, 6 the bytes of an entry beyond which it comes without its fields, 7 the bytes of all after which no more are taken
-- Returns nothing if it is not its turn. Otherwise the entries, from where to go on, and how many were gone from the stream.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local entries, next, gone, bytes = {}, ARGV[5], 0, 0
local largest, most = tonumber(ARGV[6]), tonumber(ARGV[7])

local function add(entry)
  local size = 0
  for _, text in ipairs(entry[2]) do size = size + #text end
  bytes = bytes + math.min(size, largest)
  entries[#entries + 1] = size > largest and {entry[1], {}} or entry
end

-- One by one: anybody may have made them large.
while #entries + gone < tonumber(ARGV[4]) and bytes < most do
  if next == '' then
    local answer = redis.call('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', 1, 'STREAMS', KEYS[2], '>')
    if not answer then break end
    add(answer[1][2][1])
  else
    local answer = redis.call('XAUTOCLAIM', KEYS[2], ARGV[2], ARGV[3], 0, next, 'COUNT', 1)
    next = answer[1]
    if answer[3] then gone = gone + #answer[3] end
    -- Redis 6 leaves a place for those that are gone.
    for _, entry in ipairs(answer[2]) do
      if entry then add(entry) else gone = gone + 1 end
    end
    if next == '0-0' then break end
  end
end
return {entries, next, gone}
