-- Enters a session into the first of numbered places that is not full, or where this has seated its member.
-- ARGV: 2 node, 3 session, 4 holder, 5 moment or nothing, 6 member, 7 user or nothing, 8 and 9 what stands before and after the
-- number, 10 capacity, at least 1, 11 '1' to yield to another holder, 12 what outboxes want
-- Returns the number, what came of it and its sequence number, or nothing if the node is not known.
if not is_alive(ARGV[2]) then
  return false
end
local who = {
  instance = string.sub(ARGV[2], 1, 16), session = ARGV[3], holder = ARGV[4], moment = ARGV[5], member = ARGV[6],
  user = ARGV[7], yields = ARGV[11] == '1',
}
local before, after, capacity = ARGV[8], ARGV[9], tonumber(ARGV[10])
-- No name contains the character 0, so two series never have one key.
local name = before .. '\0' .. after
local series, open = base .. 'series:' .. name, base .. 'open:' .. name

local seat = redis.call('HGET', series, 'm' .. who.member)
if seat then
  return { tonumber(seat), enter(who, before .. seat .. after, -1) }
end
-- With another capacity full is something else: all are looked at anew, once.
if redis.call('HGET', series, 'capacity') ~= ARGV[10] then
  redis.call('HSET', series, 'capacity', ARGV[10], 'high', 1)
  redis.call('DEL', open)
end
local high = tonumber(redis.call('HGET', series, 'high'))
while true do
  local number = redis.call('ZRANGE', open, 0, 0)[1]
  local is_open = number ~= nil
  number = number or string.format('%.0f', high)
  local room = before .. number .. after
  local members = base .. 'members:' .. room
  local entered, sequence
  if redis.call('ZCARD', members) < capacity then
    entered, sequence = enter(who, room, -1)
  end
  -- It may have been entered by its name alone until now.
  if redis.call('HSETNX', base .. 'place:' .. room, 'n', number .. ':' .. name) == 1 then
    redis.call('HINCRBY', series, 'used', 1)
  end
  if redis.call('ZCARD', members) >= capacity then
    if is_open then
      redis.call('ZREM', open, number)
    else
      high = high + 1
      redis.call('HSET', series, 'high', string.format('%.0f', high))
    end
  end
  if entered then
    redis.call('HSET', series, 'm' .. who.member, number)
    return { tonumber(number), entered, sequence }
  end
end
