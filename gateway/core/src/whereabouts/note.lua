-- Notes where a node is, and tells where all are.
-- KEYS: 1 the whereabouts, a hash: s, the secret; n:{name} of each node, until when it is noted and its address.
-- ARGV: 1 its name, 2 its address, 3 for how long in ms, 4 a secret, if there is none
-- Returns the secret, and of each node that is noted name and address.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSETNX', KEYS[1], 's', ARGV[4])
redis.call('HSET', KEYS[1], 'n:' .. ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
-- The secret lives as long as somebody knows it who may say it again.
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 10)
local secret, nodes = '', {}
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local name = string.match(all[at], '^n:(.*)$')
  local kept, address = string.match(all[at + 1], '^(%d+) (.*)$')
  if all[at] == 's' then
    secret = all[at + 1]
  elseif name and kept and tonumber(kept) > now then
    nodes[#nodes + 1] = { name, address }
  else
    redis.call('HDEL', KEYS[1], all[at])
  end
end
return { secret, nodes }
