-- Outboxes as all scripts see them that write them: this text stands before what uses it.
--   {base}{name}           stream: what waits, in its order; the fields of an entry are
--                            k its kind, r the place, n its number, s the session, and where there is one u the user,
--                            m the member, c the cause, a when it was in ms, e the event as the log has it
--   {base}{name}:state     hash: 'bytes' that wait; 'dropped' ever, and of these 'untold'; 'claim' and 'until' when in ms;
--                            'wanted' when last in ms
--   {base}{name}:given-up  stream: what was given up, with a field w more: why
--   {base}names            set: the outboxes that there are
-- What an entry weighs is 64 bytes and its fields.

-- Puts something into an outbox, or counts it as dropped where that is full.
local function put(outbox, state, entries, bytes, ...)
  local weight = 64
  for i = 1, select('#', ...) do
    weight = weight + #select(i, ...)
  end
  local length = redis.pcall('XLEN', outbox)
  if type(length) ~= 'number' then
    -- Something else stands in its place: who reads it says so. What happens does not fail for that.
    return
  end
  local fits = length < tonumber(entries)
  if fits and redis.call('HINCRBY', state, 'bytes', weight) > tonumber(bytes) then
    redis.call('HINCRBY', state, 'bytes', -weight)
    fits = false
  end
  if fits then
    redis.call('XADD', outbox, '*', ...)
  else
    redis.call('HINCRBY', state, 'dropped', 1)
    redis.call('HINCRBY', state, 'untold', 1)
  end
end
