-- Takes a session over and tells whoever held it, in one step.
-- KEYS: 1 the session. ARGV: 1 new holder, 2 who claims, 3 how long it is kept in ms, 4 the first byte of a record that
-- the node can read, 5 channel, 6 hash of the pid, 7 namespace
-- Returns the record, or nothing if there is none, it is somebody else's or of another namespace, or of another format.
local entry = redis.call('HMGET', KEYS[1], 'h', 'u', 'r', 'n')
local holder, owner, record = entry[1], entry[2], entry[3]
if not record or owner ~= ARGV[2] or entry[4] ~= ARGV[7] or string.byte(record) ~= tonumber(ARGV[4]) then
  return false
end
-- Each holder counts its versions from the beginning.
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'v', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if holder ~= '' and holder ~= ARGV[1] then
  redis.call('PUBLISH', ARGV[5], ARGV[6] .. ':' .. holder)
end
return record
