-- Takes, or keeps, the right to take what emitters say for the whole cluster.
-- KEYS: 1 who has it, 2 the number of the last turn. ARGV: 1 who asks, 2 for how long, in ms, 3 the channel on which the
-- beginning of a turn is told, 4 '1' if a new turn is to begin although the last is this one's
-- Returns the number of the turn, or nothing if somebody else has it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return false
end
local last = redis.call('GET', KEYS[2])
if holder and last and ARGV[4] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return last
end
-- By the clock, so that it grows although Redis may have lost the last one. As text: Lua rounds.
local time = redis.call('TIME')
local number = string.format('%.0f', math.max(time[1] * 1000000 + time[2], tonumber(last or '0') + 1))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], number)
-- In the order of what emitters publish: a classic channel, where there are sharded ones as well.
redis.call("PUBLISH", ARGV[3], number .. ':' .. ARGV[1])
return number
