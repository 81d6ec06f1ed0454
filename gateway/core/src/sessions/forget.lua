-- Ends sessions for good.
-- After history.lua. KEYS: 2 where they are found.
-- ARGV: 4 what their keys begin with, 5 'user' or 'id', 6 who they are or the id, 7 for how long in ms nothing can be saved in
-- their place
-- Returns how many there were, and the position at which it was done, or nothing if there was none.
local pids
if ARGV[5] == 'user' then
  pids = redis.call('ZRANGE', KEYS[2], 0, -1)
else
  pids = { redis.call('GET', KEYS[2]) or nil }
end
local forgotten = 0
for _, pid in ipairs(pids) do
  local key = ARGV[4] .. pid
  -- It may be somebody else by now.
  if redis.call('HGET', key, ARGV[5] == 'user' and 'w' or 's') == ARGV[6] then
    redis.call('DEL', key)
    -- Nobody is this holder.
    redis.call('HSET', key, 'h', '-')
    redis.call('PEXPIRE', key, ARGV[7])
    forgotten = forgotten + 1
  end
end
redis.call('DEL', KEYS[2])
return { forgotten, forgotten > 0 and advance() or false }
