-- Recalls an answer, or takes the turn to ask for it.
-- KEYS: 1 the answer, a hash: a, the answer; u, until when it is good; o, until when it is a little old after that; t, who asks for
-- a new one; l, until when that is theirs.
-- ARGV: 1 who would ask, 2 how long that may take in ms
-- Returns 0, the answer and for how many ms it is good; 1 and one that is a little old; 2 if somebody asks; 3 for the turn.
local known = redis.call('HMGET', KEYS[1], 'a', 'u', 't', 'l', 'o')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if known[1] and tonumber(known[2]) > now then
  return { 0, known[1], tonumber(known[2]) - now }
end
if known[3] and tonumber(known[4]) > now then
  -- Whoever asks keeps the key for longer than the answer may be given. Older nodes do not say how long that is.
  if known[1] and tonumber(known[5] or 0) > now then
    return { 1, known[1], 0 }
  end
  return { 2, '', 0 }
end
redis.call('HSET', KEYS[1], 't', ARGV[1], 'l', string.format('%.0f', now + ARGV[2]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return { 3, '', 0 }
