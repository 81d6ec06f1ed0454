-- Keeps sessions for another while.
-- KEYS: the sessions. ARGV: 1 how long they are kept in ms, 2 what the keys begin with by which they are found, then the
-- holder and the pid of each
-- Returns the numbers, from 1, of those that are not their holder's any more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}
for i, key in ipairs(KEYS) do
  local entry = redis.call('HMGET', key, 'h', 'w', 's')
  if entry[1] == ARGV[i * 2 + 1] then
    redis.call('PEXPIRE', key, ARGV[1])
    if entry[2] and entry[2] ~= '' then
      local user = ARGV[2] .. 'user:' .. entry[2]
      redis.call('ZADD', user, now + ARGV[1], ARGV[i * 2 + 2])
      redis.call('PEXPIRE', user, ARGV[1])
    end
    if entry[3] then
      redis.call('SET', ARGV[2] .. 'id:' .. entry[3], ARGV[i * 2 + 2], 'PX', ARGV[1])
    end
  else
    lost[#lost + 1] = i
  end
end
return lost
