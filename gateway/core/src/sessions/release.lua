-- Ends the holding of a session, if it still is this holder's.
-- KEYS: 1 the session. ARGV: 1 holder, 2 how long it is kept in ms, 0 to forget it, 3 what the keys begin with by which
-- it is found, 4 pid
local entry = redis.call('HMGET', KEYS[1], 'h', 'w', 's')
if entry[1] ~= ARGV[1] then
  return 0
end
if entry[2] and entry[2] ~= '' then
  local user = ARGV[3] .. 'user:' .. entry[2]
  if ARGV[2] == '0' then
    redis.call('ZREM', user, ARGV[4])
  elseif redis.call('PTTL', user) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', user, ARGV[2])
  end
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  if entry[3] then
    redis.call('DEL', ARGV[3] .. 'id:' .. entry[3])
  end
else
  redis.call('HSET', KEYS[1], 'h', '')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  if entry[3] then
    redis.call('SET', ARGV[3] .. 'id:' .. entry[3], ARGV[4], 'PX', ARGV[2])
  end
end
return 1
