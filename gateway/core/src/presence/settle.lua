-- Takes out those whose time is over: the lingering ones, and the entries of dead nodes.
-- ARGV: 2 how many entries at most: a script holds up everybody else while it runs, 3 what outboxes want
-- Returns 1 if nothing is left to do, else 0, and whose last session it was, as place, session, member, user, cause, sequence number.
local left = tonumber(ARGV[2])
local departed = {}

local function settle(entry, instance, cause)
  local session, room = string.sub(entry, 1, 32), string.sub(entry, 33)
  local was = redis.call('HGET', base .. 'place:' .. room, 's' .. session)
  local _, home = read(was or '')
  if home == instance then
    remove(session, room, was, cause, departed)
  else
    disown(instance, entry)
  end
  left = left - 1
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', base .. 'lingering', '-inf', now_ms(), 'LIMIT', 0, left)) do
  settle(entry, LINGERING, 'lingered')
end
while left > 0 do
  local instance = redis.call('SRANDMEMBER', base .. 'dead')
  if not instance then
    break
  end
  local entries = base .. 'node:' .. instance
  for _, entry in ipairs(redis.call('SRANDMEMBER', entries, left)) do
    settle(entry, instance, 'lease')
  end
  if redis.call('EXISTS', entries) == 0 then
    redis.call('SREM', base .. 'dead', instance)
  end
end
return { left > 0 and 1 or 0, departed }
