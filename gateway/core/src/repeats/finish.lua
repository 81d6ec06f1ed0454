-- Keeps the answer of a request, or with none gives it up, unless somebody else does it by now.
-- KEYS: 1 the request, see begin.lua. ARGV: 1 what tells it from others, 2 who did it, 3 how long it is kept in ms, or
-- nothing to give it up, 4 the answer
-- Returns 1 if it was so.
local known = redis.call('HMGET', KEYS[1], 'r', 'a')
if known[1] and known[1] ~= ARGV[2] then
  return 0
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'p', ARGV[1], 'r', ARGV[2], 'a', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif not known[2] then
  redis.call('DEL', KEYS[1])
end
return 1
