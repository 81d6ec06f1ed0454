-- Ends sessions for good.
-- KEYS: 1 where they are found. ARGV: 1 what their keys begin with, 2 'user' or 'id', 3 who they are or the id,
-- 4 for how long in ms nothing can be saved in their place
-- Returns how many there were.
local pids
if ARGV[2] == 'user' then
  pids = redis.call('ZRANGE', KEYS[1], 0, -1)
else
  pids = { redis.call('GET', KEYS[1]) or nil }
end
local forgotten = 0
for _, pid in ipairs(pids) do
  local key = ARGV[1] .. pid
  -- It may be somebody else by now.
  if redis.call('HGET', key, ARGV[2] == 'user' and 'w' or 's') == ARGV[3] then
    redis.call('DEL', key)
    -- Nobody is this holder.
    redis.call('HSET', key, 'h', '-')
    redis.call('PEXPIRE', key, ARGV[4])
    forgotten = forgotten + 1
  end
end
redis.call('DEL', KEYS[1])
return forgotten
