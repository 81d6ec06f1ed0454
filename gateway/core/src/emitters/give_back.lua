-- Gives the right to take back, and tells that it is free.
-- KEYS: 1 who has it. ARGV: 1 who gives it back, 2 the channel on which turns are told, 3 what is told there
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
-- A classic channel, as in turn.lua.
redis.call("PUBLISH", ARGV[2], ARGV[3])
return 1
