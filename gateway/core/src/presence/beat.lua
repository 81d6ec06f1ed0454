-- Renews a node's lease, and finds the nodes whose lease ran out.
-- ARGV: 2 node, 3 lease in ms, 4 until when its lease runs as far as it knows, or nothing if it is new
-- Returns until when its lease runs, how many entries it has, and the names of nodes that are lost; nothing if it is not
-- known, or Redis has gone back to a state from before its last beat.
local nodes, node, lease = base .. 'nodes', ARGV[2], tonumber(ARGV[3])
local now = now_ms()
if ARGV[4] ~= '' and tonumber(redis.call('ZSCORE', nodes, node) or 0) < tonumber(ARGV[4]) then
  return false
end
-- If nobody has beaten for a while, Redis was away rather than all of them: they get time to come back. Not twice in a
-- row, or a single node that beats slowly would keep the dead ones forever.
local newest = redis.call('ZREVRANGE', nodes, 0, 0, 'WITHSCORES')[2]
if newest and tonumber(newest) < now + lease / 2 then
  redis.call('SET', base .. 'grace', now + lease, 'PX', lease * 2, 'NX')
end
redis.call('ZADD', nodes, now + lease, node)
local lost = {}
if tonumber(redis.call('GET', base .. 'grace') or 0) <= now then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now)) do
    redis.call('ZREM', nodes, other)
    local instance = string.sub(other, 1, 16)
    if redis.call('EXISTS', base .. 'node:' .. instance) == 1 then
      redis.call('SADD', base .. 'dead', instance)
      lost[#lost + 1] = string.sub(other, 17)
    end
  end
end
return { string.format('%.0f', now + lease), redis.call('SCARD', base .. 'node:' .. string.sub(node, 1, 16)), lost }
