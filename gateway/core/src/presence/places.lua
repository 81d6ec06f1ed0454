-- Places as all scripts of this folder see them: this text stands before each of them. ARGV[1] is what all keys start
-- with. Which keys a script needs shows only in what it reads, so they are not declared: one Redis primary has them all.
--   nodes            sorted set: {node} by when its lease runs out, in ms; a node is 16 digits (the instance), then its name
--   node:{instance}  set: what the node has entered; an entry is 32 digits (the session), then the place
--   dead             set: instances whose lease ran out and whose entries are being taken out
--   lingering        sorted set: entries that no node has any more, by when their time is over, in ms
--   grace            until when nobody's lease counts as run out
--   sequence         the last sequence number
--   rooms            sorted set: the rooms that have members, with equal scores, so that they are in the order of their bytes
--   members:{place}  sorted set: the members with equal scores, so that they are in the order of their bytes
--   place:{place}    hash: 'm'..member = sessions:since in ms:user; 's'..session = holder (16)..instance (16)..member, and
--                    before the member a 1 and the moment (16) where all nodes read that; 'n' = number:series, if the
--                    place is one of numbered ones in use. A moment is the holder's term and its step, 8 hexadecimal
--                    digits each: what is later is greater, as a text too, and what has none is less
--   series:{series}  hash: 'capacity'; 'high', below which every number is full or in open:{series}; 'used', how many are
--                    in use; 'm'..member = the number where it is
--   open:{series}    sorted set: the numbers below 'high' that are not full
-- Scripts in which somebody comes or leaves have `tell.lua` before this, and with it tell_come and tell_left.
local base = ARGV[1]
-- In place of an instance.
local LINGERING = '----------------'
local FIRST, AGAIN, FULL, ELSEWHERE = 0, 1, 2, 3

-- The time is Redis's own, so that nodes' clocks do not matter.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The number of what happens now: above those of all that happened before, also of what Redis does not remember.
local function next_sequence()
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', base .. 'sequence') or 0)
  local number = math.max(last + 1, time[1] * 1000000 + time[2])
  redis.call('SET', base .. 'sequence', string.format('%.0f', number))
  return number
end

-- Rooms alone are listed: what else begins with the character 1 is the gateway's own.
local function is_listed(room)
  return string.byte(room, 1) ~= 1 or string.byte(room, 2) == 47
end

local function is_alive(node)
  return redis.call('ZSCORE', base .. 'nodes', node) ~= false
end

-- No member begins with it.
local ORDERED = '\1'

-- Of a session in a place: holder, instance, moment or '' if it has none, member.
local function read(was)
  local holder, instance = string.sub(was, 1, 16), string.sub(was, 17, 32)
  if string.sub(was, 33, 33) == ORDERED then
    return holder, instance, string.sub(was, 34, 49), string.sub(was, 50)
  end
  return holder, instance, '', string.sub(was, 33)
end

local function written(holder, instance, moment, member)
  return holder .. instance .. (moment == '' and '' or ORDERED .. moment) .. member
end

-- Takes an entry from the node, or the lingering ones, that have it.
local function disown(instance, entry)
  if instance == LINGERING then
    redis.call('ZREM', base .. 'lingering', entry)
  else
    redis.call('SREM', base .. 'node:' .. instance, entry)
  end
end

-- Enters who = {instance, session, holder, moment or '', member, user, yields} into a place; a capacity below 0 is none. Returns
-- what came of it, and the sequence number if the member was not there, else 0.
local function enter(who, room, capacity)
  local place, members, entry = base .. 'place:' .. room, base .. 'members:' .. room, who.session .. room
  local was = redis.call('HGET', place, 's' .. who.session)
  local member = who.member
  if was then
    local holder, instance, moment
    holder, instance, moment, member = read(was)
    local is_ordered = who.moment ~= ''
    if holder == who.holder then
      -- A command that was given up as too late may be carried out after those that followed it.
      if is_ordered and moment > who.moment then
        return AGAIN, 0
      end
    elseif who.yields or is_ordered and string.sub(moment, 1, 8) > string.sub(who.moment, 1, 8) then
      return ELSEWHERE, 0
    end
    disown(instance, entry)
  end
  local record = redis.call('HGET', place, 'm' .. member)
  if not was then
    if record then
      local sessions, rest = string.match(record, '^(%d+)(:.*)$')
      redis.call('HSET', place, 'm' .. member, sessions + 1 .. rest)
    else
      if capacity >= 0 and redis.call('ZCARD', members) >= capacity then
        return FULL, 0
      end
      redis.call('ZADD', members, 0, member)
      if is_listed(room) then
        redis.call('ZADD', base .. 'rooms', 0, room)
      end
      redis.call('HSET', place, 'm' .. member, string.format('1:%.0f:', now_ms()) .. who.user)
    end
  end
  redis.call('HSET', place, 's' .. who.session, written(who.holder, who.instance, who.moment, member))
  redis.call('SADD', base .. 'node:' .. who.instance, entry)
  if was or record then
    return AGAIN, 0
  end
  local sequence = next_sequence()
  tell_come(room, sequence, who.session, member, who.user)
  return FIRST, sequence
end

-- A member has left a numbered place: its number can be had again.
local function reopen(place, members, member, tag)
  local number, name = string.match(tag, '^(%d+):(.*)$')
  local series, open = base .. 'series:' .. name, base .. 'open:' .. name
  if redis.call('HGET', series, 'm' .. member) == number then
    redis.call('HDEL', series, 'm' .. member)
  end
  if redis.call('EXISTS', members) == 0 then
    redis.call('DEL', place)
    if redis.call('HINCRBY', series, 'used', -1) <= 0 then
      redis.call('DEL', series, open)
      return
    end
  end
  if tonumber(number) < tonumber(redis.call('HGET', series, 'high') or 0) then
    redis.call('ZADD', open, number, number)
  end
end

-- Takes a session out of a place where it is, as `was` says. Adds to departed if it was its member's last there.
local function remove(session, room, was, cause, departed)
  local place, members = base .. 'place:' .. room, base .. 'members:' .. room
  local _, instance, _, member = read(was)
  disown(instance, session .. room)
  redis.call('HDEL', place, 's' .. session)
  local sessions, rest = string.match(redis.call('HGET', place, 'm' .. member) or '1:0:', '^(%d+)(:.*)$')
  if tonumber(sessions) > 1 then
    redis.call('HSET', place, 'm' .. member, sessions - 1 .. rest)
    return
  end
  redis.call('HDEL', place, 'm' .. member)
  redis.call('ZREM', members, member)
  if is_listed(room) and redis.call('EXISTS', members) == 0 then
    redis.call('ZREM', base .. 'rooms', room)
  end
  local tag = redis.call('HGET', place, 'n')
  if tag then
    reopen(place, members, member, tag)
  end
  local user, sequence = string.match(rest, '^:%d+:(.*)$'), next_sequence()
  tell_left(room, sequence, session, member, user, cause, redis.call('EXISTS', members) == 0)
  departed[#departed + 1] = { room, session, member, user, cause, sequence }
end
