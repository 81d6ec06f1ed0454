-- A node says whether it hears the bus, and asks which others do.
-- KEYS: 1 a sorted set of nodes by when they last heard. ARGV: 1 the node, 2 '1' if it hears, 3 how recent is recent, in ms
-- Returns the other nodes that heard recently. The time is Redis's own, so that nodes' clocks do not matter.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local others = {}
for _, node in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if node ~= ARGV[1] then others[#others + 1] = node end
end
return others
