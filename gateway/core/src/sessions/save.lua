-- Saves a session for its holder.
-- After history.lua. KEYS: 2 the session.
-- ARGV: 4 holder, 5 whose it is, 6 the record, 7 how long it is kept in ms, 8 the record's version, 9 what the keys begin with
-- by which it is found, 10 hash of the pid, 11 who it is or nothing, 12 its id, 13 its namespace, 14 the holder's term
-- Returns the position at which it was kept, or nothing if somebody else holds it, its holder released it, or it was ended.
local entry = redis.call('HMGET', KEYS[2], 'h', 'v', 'w', 'p')
if entry[1] and entry[1] ~= ARGV[4] then
  return false
end
local users, kept_at = ARGV[9] .. 'user:', entry[4]
local who = entry[3] or ''
-- A command that was given up as too late may be carried out after those that followed it.
if not entry[2] or tonumber(entry[2]) <= tonumber(ARGV[8]) then
  kept_at = advance()
  if who ~= '' and who ~= ARGV[11] then
    redis.call('ZREM', users .. who, ARGV[10])
  end
  who = ARGV[11]
  redis.call('HSET', KEYS[2], 'h', ARGV[4], 'u', ARGV[5], 'r', ARGV[6], 'v', ARGV[8], 'w', who, 's', ARGV[12], 'n',
    ARGV[13], 't', ARGV[14], 'p', kept_at)
end
redis.call('PEXPIRE', KEYS[2], ARGV[7])
redis.call('SET', ARGV[9] .. 'id:' .. ARGV[12], ARGV[10], 'PX', ARGV[7])
if who ~= '' then
  local now = milliseconds()
  redis.call('ZREMRANGEBYSCORE', users .. who, '-inf', now)
  redis.call('ZADD', users .. who, now + ARGV[7], ARGV[10])
  redis.call('PEXPIRE', users .. who, ARGV[7])
end
return kept_at or digits(head)
