-- What the nodes of a deployment say about which Redis has which namespaces.
-- KEYS: 1 a sorted set: what was said, "id namespace node", by when, in milliseconds.
-- ARGV: 1 for how many milliseconds it holds, 2... what this node says.
-- Answers everything that holds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do
    redis.call('ZADD', KEYS[1], now, ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
