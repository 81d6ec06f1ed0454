-- Saves a session for its holder.
-- KEYS: 1 the session. ARGV: 1 holder, 2 whose it is, 3 the record, 4 how long it is kept in ms, 5 the record's version,
-- 6 its namespace
-- Returns 1, or 0 if somebody else holds it or its holder released it.
local entry = redis.call('HMGET', KEYS[1], 'h', 'v')
if entry[1] and entry[1] ~= ARGV[1] then
  return 0
end
-- A command that was given up as too late may be carried out after those that followed it.
if not entry[2] or tonumber(entry[2]) <= tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'h', ARGV[1], 'u', ARGV[2], 'r', ARGV[3], 'v', ARGV[5], 'n', ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
