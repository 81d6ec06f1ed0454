-- Takes a session over and tells whoever held it, in one step.
-- KEYS: 1 the session. ARGV: 1 new holder, 2 who claims, 3 how long it is kept in ms, 4 channel, 5 hash of the pid,
-- 6 what the keys begin with by which it is found, 7 namespace, 8 and 9 between which the first byte of a record is that the
-- node can read, 10 how far apart terms are
-- Returns the record, the new holder's term, and the position at which the record was kept, or '' if a node of a version kept
-- it that did not say so; or nothing if there is none, it is somebody else's or of another namespace, or of another format.
local entry = redis.call('HMGET', KEYS[1], 'h', 'u', 'r', 'w', 's', 'n', 'p')
local holder, owner, record = entry[1], entry[2], entry[3]
if not record or owner ~= ARGV[2] or entry[6] ~= ARGV[7] then
  return false
end
local format = string.byte(record) or 0
if format < tonumber(ARGV[8]) or format > tonumber(ARGV[9]) then
  return false
end
-- Each holder counts its versions from the beginning.
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'v', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if entry[4] and entry[4] ~= '' then
  local time = redis.call('TIME')
  redis.call('ZADD', ARGV[6] .. 'user:' .. entry[4], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[5])
  redis.call('PEXPIRE', ARGV[6] .. 'user:' .. entry[4], ARGV[3])
end
if entry[5] then
  redis.call('SET', ARGV[6] .. 'id:' .. entry[5], ARGV[5], 'PX', ARGV[3])
end
if holder ~= '' and holder ~= ARGV[1] then
  redis.call('PUBLISH', ARGV[4], ARGV[5] .. ':' .. holder)
end
return { record, redis.call('HINCRBY', KEYS[1], 't', ARGV[10]), entry[7] or '' }
