-- Takes out what was delivered, or is given up, if the claim still holds.
-- KEYS: 1 the outbox, 2 its state, 3 what was given up.
-- ARGV: 1 the claim, 2 for how long it holds now in ms, 3 why it is given up, or nothing, 4 how much of that is kept, then ids,
-- each with a space and what it weighs; 'lost:' and two numbers with - between them for what was dropped, which stays if it is
-- more by now; 'before:' and an id with a space and what all before it weighs, for the oldest, of which all are there or none is
-- Returns 1, or 0 if somebody else has taken over.
if redis.call('HGET', KEYS[2], 'claim') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'until', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]))
local bytes = 0
for i = 5, #ARGV do
  local lost_to = string.match(ARGV[i], '^lost:%d+%-(%d+)$')
  local before_id, of_all = string.match(ARGV[i], '^before:(%S+) (%d+)$')
  local id, weight = string.match(ARGV[i], '^([%d-]+) (%d+)$')
  local entry = ARGV[3] ~= '' and id and redis.call('XRANGE', KEYS[1], id, id)[1]
  if lost_to and redis.call('HGET', KEYS[2], 'lost_to') == lost_to then
    redis.call('HDEL', KEYS[2], 'lost', 'lost_to')
  end
  if id and redis.call('XDEL', KEYS[1], id) == 1 then
    bytes = bytes + weight
  end
  if before_id and redis.call('XTRIM', KEYS[1], 'MINID', before_id) > 0 then
    bytes = bytes + of_all
  end
  if entry then
    local fields = entry[2]
    fields[#fields + 1] = 'w'
    fields[#fields + 1] = ARGV[3]
    redis.call('XADD', KEYS[3], '*', unpack(fields))
  end
end
if bytes > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
end
if ARGV[3] ~= '' then
  redis.call('XTRIM', KEYS[3], 'MAXLEN', ARGV[4])
end
return 1
