-- The beginning of all scripts that must not lose what they did in silence: which history positions count in, and where it
-- stands.
-- KEYS: 1 clock, 2 what the script is about, and texts, read in one call: 3 counter, 4 epoch, 5 tick; 6 writers, 7 those who
-- have yet to vouch, 8 the script's own if any, a text.
-- ARGV: 1 an epoch for a new history, 2 the highest offset that the node knows of, and if it vouches, what it knows was kept, as
-- ' {process}:{offset}' each, of what it heard without the process, 3 retention in ms, then the script's own, the last one:
-- which process of Redis this is, or '' if the node may not know.
--
-- A history begins anew when there is none, or when nodes know offsets that it does not have: then Redis lost its last
-- writes. Every offset is at least the time in microseconds, so none is ever given twice, whatever was lost.
--
-- Another process of Redis than the last one, after a restart or a failover, may have lost writes of which nobody here
-- knows, and the last one may go on for those that have not heard of it. Until all that wrote in the last seconds have
-- vouched that nothing of theirs is missing, everything is in doubt: also what was given out meanwhile, here or there.
local server = ARGV[#ARGV]
local VOUCH_WITHIN_MS = 5000
-- Writers mark every second: one that was silent for that long before the last one had ended, and what it wrote is there.
local SILENT_MS = 2500

local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function milliseconds()
  return math.floor(microseconds() / 1000)
end

-- Lua would print large numbers as 1e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local texts = redis.call('MGET', KEYS[3], KEYS[4], KEYS[5], KEYS[8] or KEYS[5])
local head, tick = tonumber(texts[1] or '0'), texts[3]
local highest, vouched = tonumber(ARGV[2]), nil
if not highest then
  vouched = ARGV[2]
  highest = tonumber(string.match(vouched, '^%d+'))
end
-- `base` is where the log stood when this process was first seen, `since` where it went on, `doubt` until when, in ms, others
-- may vouch, or 0. Before there were processes the text ended with `began`.
local epoch, began, process, base, since, doubt =
  string.match(texts[2] or '', '^(%x+):(%d+):?(%w*):?(%d*):?(%d*):?(%d*)$')

local function remember()
  redis.call('SET', KEYS[4], table.concat({ epoch, began, process, base, since, doubt }, ':'))
end

-- Begins a history in which nothing of before now is whole. A doubt goes on: others may know of more.
local function begin()
  head = math.max(head, microseconds())
  local now = digits(head)
  redis.call('SET', KEYS[3], now)
  epoch, began, process, base, since, doubt = ARGV[1], now, server, now, now, doubt or '0'
  remember()
end

local is_behind, was_in_doubt = not epoch or head == 0 or head < highest, false
if epoch and process == '' then
  process, base, since, doubt = server, began, began, '0'
  if server ~= '' then
    remember()
  end
elseif epoch and server ~= '' and process ~= server then
  was_in_doubt = doubt ~= '0'
  process, base = server, digits(head)
  head = math.max(head, microseconds())
  since, doubt = digits(head), '0'
  redis.call('SET', KEYS[3], since)
  redis.call('DEL', KEYS[7])
  local last = redis.call('ZRANGE', KEYS[6], -1, -1, 'WITHSCORES')
  if last[2] then
    local silent = digits(tonumber(last[2]) - SILENT_MS)
    redis.call('SADD', KEYS[7], unpack(redis.call('ZRANGEBYSCORE', KEYS[6], silent, '+inf')))
    doubt = digits(milliseconds() + VOUCH_WITHIN_MS)
  end
  remember()
end
if is_behind then
  head = math.max(head, highest)
  redis.call('DEL', KEYS[1], KEYS[5])
  tick = false
  begin()
elseif was_in_doubt then
  -- Who had yet to vouch for the process before may never do so: it may have ended with it.
  begin()
end

-- What another process kept and this one does not have is lost. That may have gone on when this one had begun, where a
-- primary did not know yet that it was none any more: so what is whole begins now.
if vouched then
  local is_lost = false
  for kept_by, offset in string.gmatch(vouched, ' (%w*):(%d+)') do
    local knew = tonumber(offset)
    local is_older = kept_by == '' and knew < tonumber(since) or kept_by ~= '' and server ~= '' and kept_by ~= server
    if is_older and knew > tonumber(base) then
      is_lost = true
      head = math.max(head, knew + 1)
    end
  end
  if is_lost then
    begin()
  end
end

-- The clock: what came after an offset is no older than the offset's mark. Sixteen marks in a retention are enough, and
-- the tick is there until the next one is due.
local function keep_clock(before)
  if not tick then
    local now, retention = milliseconds(), tonumber(ARGV[3])
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - retention))
    redis.call('ZADD', KEYS[1], now, digits(before))
    redis.call('SET', KEYS[5], '', 'PX', math.max(1, math.floor(retention / 16)))
  end
end

-- Gives what a script keeps its place in the history: without that its loss would not show. Returns the place.
local function advance()
  keep_clock(head)
  head = math.max(head + 1, microseconds())
  local place = digits(head)
  redis.call('SET', KEYS[3], place)
  return place
end
