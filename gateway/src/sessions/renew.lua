-- Keeps sessions for another while.
-- KEYS: the sessions. ARGV: 1 how long they are kept in ms, then the holder of each
-- Returns the numbers, from 1, of those that are not their holder's any more.
local lost = {}
for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'h') == ARGV[i + 1] then
    redis.call('PEXPIRE', key, ARGV[1])
  else
    lost[#lost + 1] = i
  end
end
return lost
