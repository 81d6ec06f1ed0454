-- Begins a request that may come again.
-- KEYS: 1 the request, a hash: p, what tells it from others; r, who does it; a, the answer, if there is one.
-- ARGV: 1 what tells it from others, 2 who would do it, 3 how long it may take in ms
-- Returns 0 for a new one, 1 for one that is under way, 2 for another one, or 3 with the answer.
local known = redis.call('HMGET', KEYS[1], 'p', 'a')
if not known[1] then
  redis.call('HSET', KEYS[1], 'p', ARGV[1], 'r', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return { 0, '' }
end
if known[1] ~= ARGV[1] then
  return { 2, '' }
end
if known[2] then
  return { 3, known[2] }
end
return { 1, '' }
