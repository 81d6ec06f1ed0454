-- The beginning of both scripts: which history offsets count in, and where it stands.
-- KEYS: 1 counter, 2 epoch, 3 clock. ARGV: 1 an epoch for a new history, 2 the highest offset that the node knows of.
--
-- A history begins anew when there is none, or when nodes know offsets that it does not have: then Redis lost its last
-- writes, and counting on would give the same offsets to other events. A new history counts from the time, so that its
-- offsets are above those of every history before it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch, began = string.match(redis.call('GET', KEYS[2]) or '', '^(%x+):(%d+)$')
local head = tonumber(redis.call('GET', KEYS[1]) or '0')
if not epoch or head == 0 or head < tonumber(ARGV[2]) then
  epoch = ARGV[1]
  head = math.max(now * 1000, tonumber(ARGV[2]))
  -- %.0f: Lua would print large numbers as 1e+15.
  began = string.format('%.0f', head)
  redis.call('SET', KEYS[2], epoch .. ':' .. began)
  redis.call('SET', KEYS[1], began)
  redis.call('DEL', KEYS[3])
end
