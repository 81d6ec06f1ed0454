-- Keeps the answer of who has the turn, or with none gives the turn back, unless somebody else has it by now.
-- KEYS: 1 the answer, see recall.lua. ARGV: 1 who asked, 2 how long it is good in ms, or nothing to give the turn back,
-- 3 how long it is a little old after that, 4 the answer
-- Returns 1 if it was so.
local turn = redis.call('HGET', KEYS[1], 't')
if turn and turn ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 't', 'l')
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', KEYS[1])
local good, old = now + ARGV[2], now + ARGV[2] + ARGV[3]
redis.call('HSET', KEYS[1], 'a', ARGV[4], 'u', string.format('%.0f', good), 'o', string.format('%.0f', old))
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[3])
return 1
