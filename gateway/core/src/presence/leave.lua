-- Takes a session out of places, at once or after a time, where this holder has it since before.
-- ARGV: 2 session, 3 holder, 4 moment or nothing, 5 how long it lingers in ms, 0 for not at all, then the places, and what outboxes want
-- Returns whose last session it was, as place, session, member, user, cause, sequence number.
local session, holder, moment, linger = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local departed = {}
for i = 6, #ARGV - 1 do
  local room = ARGV[i]
  local place, entry = base .. 'place:' .. room, session .. room
  local was = redis.call('HGET', place, 's' .. session)
  local its_holder, instance, since, member = read(was or '')
  -- A leaving that was given up as too late may be carried out after the session has entered again.
  if was and its_holder == holder and (moment == '' or since <= moment) then
    if linger == 0 then
      remove(session, room, was, 'left', departed)
    elseif instance ~= LINGERING then
      disown(instance, entry)
      redis.call('HSET', place, 's' .. session, written(holder, LINGERING, moment, member))
      redis.call('ZADD', base .. 'lingering', now_ms() + linger, entry)
    end
  end
end
return departed
