-- Appends an event to a room's log and announces it, in one step: offset, entry, expiry, announcement.
-- KEYS: 1 counter, 2 epoch, 3 the room's stream, 4 dedupe key (optional)
-- ARGV: 1 an epoch for a new history, 2 the event, 3 events to keep, 4 retention in ms, 5 channel,
--       6 dedupe window in ms (with KEYS[4])
-- Returns {epoch, offset, 1 if the dedupe key was known else 0}.
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  -- No epoch: this history begins now, whatever an older one may have left behind.
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
  redis.call('DEL', KEYS[1])
end
if KEYS[4] then
  local known = redis.call('GET', KEYS[4])
  if known then
    return { epoch, known, 1 }
  end
end
-- %.0f: Lua would print large numbers as 1e+15.
local offset = string.format('%.0f', redis.call('INCR', KEYS[1]))
local id = offset .. '-0'
local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], id, 'e', ARGV[2])
if type(added) == 'table' and added.err then
  -- The stream is of an older history and its ids are ahead of the counter.
  redis.call('DEL', KEYS[3])
  redis.call('XADD', KEYS[3], id, 'e', ARGV[2])
end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
if KEYS[4] then
  redis.call('SET', KEYS[4], offset, 'PX', ARGV[6])
end
redis.call('PUBLISH', ARGV[5], 'E' .. epoch .. offset .. ':' .. ARGV[2])
return { epoch, offset, 0 }
