-- Notes which outboxes are wanted, forgets those that were not for long, and tells how the others stand.
-- KEYS: 1 the names.  ARGV: 1 what keys of outboxes begin with, 2 for how long in ms one stays that is not wanted, then those
-- that are
-- Returns of each: name, how many wait, bytes, for how long the oldest does in ms or -1, how many were given up, how many dropped.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 3, #ARGV do
  redis.call('SADD', KEYS[1], ARGV[i])
  redis.call('HSET', ARGV[1] .. ARGV[i] .. ':state', 'wanted', string.format('%.0f', now))
end
local told = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local outbox = ARGV[1] .. name
  local state, given_up = outbox .. ':state', outbox .. ':given-up'
  local known = redis.call('HMGET', state, 'wanted', 'bytes', 'dropped')
  local since = tonumber(known[1])
  if not since then
    since = now
    redis.call('HSET', state, 'wanted', string.format('%.0f', now))
  end
  if since < now and now - since >= tonumber(ARGV[2]) then
    redis.call('DEL', outbox, state, given_up)
    redis.call('SREM', KEYS[1], name)
  else
    local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
    local age = oldest and math.max(0, now - tonumber(string.match(oldest[1], '^%d+'))) or -1
    told[#told + 1] = {
      name, redis.call('XLEN', outbox), tonumber(known[2] or 0), age, redis.call('XLEN', given_up), tonumber(known[3] or 0),
    }
  end
end
return told
