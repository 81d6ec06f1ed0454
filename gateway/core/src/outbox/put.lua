-- Outboxes as all scripts see them that write them: this text stands before what uses it.
--   {base}{name}           stream: what waits, in its order; the fields of an entry are
--                            k its kind, r the place, n its number, s the session, and where there is one u the user,
--                            m the member, c the cause, a when it was in ms, e the event as the log has it. For the
--                            archive r, e and p: its history, its number, that of the event before it in its room or
--                            nothing, that of the one that it takes back or nothing, and the user, with spaces between them. Where there is
--                            one, t the trace in which it happened, which versions that know of none do not look at
--   {base}{name}:state     hash: 'bytes' that wait; 'dropped' ever, and of these 'untold'; 'claim' and 'until' when in ms;
--                            'wanted' when last in ms; the archive's 'lost' and 'lost_to', the numbers of the first and
--                            the last that were dropped, until that is settled
--   {base}{name}:given-up  stream: what was given up, with a field w more: why
--   {base}names            set: the outboxes that there are
-- What an entry weighs is 64 bytes and its fields.

-- Puts something into an outbox that weighs so much, or counts it as dropped where that is full. Returns whether it was
-- dropped.
local function put_weighed(outbox, state, entries, bytes, weight, ...)
  -- Nothing weighs less than 64: only beyond so much there can be too many.
  local waiting = redis.call('HINCRBY', state, 'bytes', weight)
  local fits = waiting <= tonumber(bytes)
  if fits and waiting > 64 * entries then
    local length = redis.pcall('XLEN', outbox)
    fits = type(length) == 'number' and length < tonumber(entries)
  end
  -- If something else stands in its place, who reads it says so. What happens does not fail for that.
  if fits and type(redis.pcall('XADD', outbox, '*', ...)) == 'string' then
    return false
  end
  redis.call('HINCRBY', state, 'bytes', -weight)
  redis.call('HINCRBY', state, 'dropped', 1)
  redis.call('HINCRBY', state, 'untold', 1)
  return true
end

-- The same for who does not know what it weighs.
local function put(outbox, state, entries, bytes, ...)
  local weight = 64
  for i = 1, select('#', ...) do
    weight = weight + #select(i, ...)
  end
  return put_weighed(outbox, state, entries, bytes, weight, ...)
end
