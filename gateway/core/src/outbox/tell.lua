-- Tells outboxes who comes and leaves. After put.lua, before the scripts of presence in which that happens.
-- The last of ARGV: what is wanted, as JSON, or nothing if none of it is:
--   { base, entries and bytes that an outbox may have, outboxes = { { name, kinds, rooms, namespaces or nil for all } } },
--   where rooms are the pieces of a pattern between its stars
local wanted = ARGV[#ARGV] ~= '' and cjson.decode(ARGV[#ARGV])

-- In a time that no name can make long.
local function fits(pieces, name)
  local count = #pieces
  if count == 1 then
    return name == pieces[1]
  end
  local first, last = pieces[1], pieces[count]
  local at, stop = #first + 1, #name - #last
  if at > stop + 1 or string.sub(name, 1, #first) ~= first or string.sub(name, stop + 1) ~= last then
    return false
  end
  for i = 2, count - 1 do
    local from, to = string.find(name, pieces[i], at, true)
    if not from or to > stop then
      return false
    end
    at = to + 1
  end
  return true
end

-- The namespace of a place, and its name if it is a room; nothing if it is neither a room nor where the sessions of a
-- namespace are counted.
local function whereabouts(place)
  if string.byte(place) ~= 1 then
    return '/', place
  end
  local namespace, name = string.match(place, '^\1(/[^\1]*)\1(.*)$')
  if namespace then
    return namespace, name
  end
  return string.match(place, '^\1everybody:(.*)$')
end

local function contains(list, word)
  for _, one in ipairs(list) do
    if one == word then
      return true
    end
  end
  return false
end

local function tell_of(kind, place, namespace, name, number, session, member, user, cause)
  local time = redis.call('TIME')
  local at = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
  for _, want in ipairs(wanted.outboxes) do
    if contains(want.kinds, kind) and (not want.namespaces or contains(want.namespaces, namespace))
      and (not name or fits(want.rooms, name)) then
      local outbox = wanted.base .. want.name
      put(outbox, outbox .. ':state', wanted.entries, wanted.bytes, 'k', kind, 'r', place, 'n',
        string.format('%.0f', number), 's', session, 'm', member, 'u', user, 'c', cause, 'a', at)
    end
  end
end

-- A member came to a place by its first session.
local function tell_come(place, number, session, member, user)
  if not wanted then return end
  local namespace, name = whereabouts(place)
  if namespace then
    tell_of(name and 'room.joined' or 'session.connected', place, namespace, name, number, session, member, user, '')
  end
end

-- A member left a place with its last session, and perhaps nobody is there any more.
local function tell_left(place, number, session, member, user, cause, is_empty)
  if not wanted then return end
  local namespace, name = whereabouts(place)
  if namespace then
    tell_of(name and 'room.left' or 'session.ended', place, namespace, name, number, session, member, user, cause)
    if name and is_empty then
      tell_of('room.emptied', place, namespace, name, number, session, member, user, cause)
    end
  end
end
