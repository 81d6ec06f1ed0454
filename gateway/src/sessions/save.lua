-- Saves a session for its holder.
-- KEYS: 1 the session. ARGV: 1 holder, 2 whose it is, 3 the record, 4 how long it is kept in ms, 5 the record's version,
-- 6 what the keys begin with by which it is found, 7 hash of the pid, 8 who it is or nothing, 9 its id, 10 its
-- namespace, 11 the holder's term
-- Returns 1, or 0 if somebody else holds it, its holder released it, or it was ended.
local entry = redis.call('HMGET', KEYS[1], 'h', 'v', 'w')
if entry[1] and entry[1] ~= ARGV[1] then
  return 0
end
local users = ARGV[6] .. 'user:'
local who = entry[3] or ''
-- A command that was given up as too late may be carried out after those that followed it.
if not entry[2] or tonumber(entry[2]) <= tonumber(ARGV[5]) then
  if who ~= '' and who ~= ARGV[8] then
    redis.call('ZREM', users .. who, ARGV[7])
  end
  who = ARGV[8]
  redis.call('HSET', KEYS[1], 'h', ARGV[1], 'u', ARGV[2], 'r', ARGV[3], 'v', ARGV[5], 'w', who, 's', ARGV[9], 'n',
    ARGV[10], 't', ARGV[11])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', ARGV[6] .. 'id:' .. ARGV[9], ARGV[7], 'PX', ARGV[4])
if who ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', users .. who, '-inf', now)
  redis.call('ZADD', users .. who, now + ARGV[4], ARGV[7])
  redis.call('PEXPIRE', users .. who, ARGV[4])
end
return 1
