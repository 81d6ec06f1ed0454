-- Saves a session for its holder.
-- KEYS: 1 the session. ARGV: 1 holder, 2 whose it is, 3 the record, 4 how long it is kept in ms
-- Returns 1, or 0 if somebody else holds it or its holder released it.
local holder = redis.call('HGET', KEYS[1], 'h')
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'u', ARGV[2], 'r', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
