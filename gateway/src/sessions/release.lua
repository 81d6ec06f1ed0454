-- Ends the holding of a session, if it still is this holder's.
-- KEYS: 1 the session. ARGV: 1 holder, 2 how long it is kept in ms, 0 to forget it
if redis.call('HGET', KEYS[1], 'h') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'h', '')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
