-- The beginning of both scripts: which history offsets count in, and where it stands.
-- KEYS: 1 clock, 2 the room's stream, and texts, read in one call: 3 counter, 4 epoch, 5 tick, 6 the script's own if any.
-- ARGV: 1 an epoch for a new history, 2 the highest offset that the node knows of.
--
-- A history begins anew when there is none, or when nodes know offsets that it does not have: then Redis lost its last
-- writes, and counting on would give the same offsets to other events. A new history counts from the time, so that its
-- offsets are above those of every history before it.
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local texts = redis.call('MGET', KEYS[3], KEYS[4], KEYS[5], KEYS[6] or KEYS[5])
local epoch, began = string.match(texts[2] or '', '^(%x+):(%d+)$')
local head, tick = tonumber(texts[1] or '0'), texts[3]
if not epoch or head == 0 or head < tonumber(ARGV[2]) then
  epoch = ARGV[1]
  head = math.max(milliseconds() * 1000, tonumber(ARGV[2]))
  -- %.0f: Lua would print large numbers as 1e+15.
  began = string.format('%.0f', head)
  tick = false
  redis.call('SET', KEYS[4], epoch .. ':' .. began)
  redis.call('SET', KEYS[3], began)
  redis.call('DEL', KEYS[1], KEYS[5])
end
