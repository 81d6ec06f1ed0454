-- Some of what a node has entered.
-- ARGV: 2 node, 3 where to go on, 4 how many at about: a script holds up everybody else while it runs
-- Returns where to go on, '0' at the end, and session, holder, moment or nothing, and place of each, perhaps more than once.
local instance = string.sub(ARGV[2], 1, 16)
local page = redis.call('SSCAN', base .. 'node:' .. instance, ARGV[3], 'COUNT', ARGV[4])
local held = {}
for _, entry in ipairs(page[2]) do
  local session, room = string.sub(entry, 1, 32), string.sub(entry, 33)
  local was = redis.call('HGET', base .. 'place:' .. room, 's' .. session)
  local holder, home, moment = read(was or '')
  if home == instance then
    held[#held + 1] = { session, holder, moment, room }
    -- A node that does not know the index may have entered the first member.
    if is_listed(room) then
      redis.call('ZADD', base .. 'rooms', 0, room)
    end
  else
    -- A place that was lost alone.
    disown(instance, entry)
  end
end
return { page[1], held }
