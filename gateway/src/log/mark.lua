-- Moves the log's position to the present, and announces that; a writer says that it lives, and vouches.
-- After history.lua.
-- ARGV: 3 the writer, 4 the highest offset of an event that it knew when it last lost a connection, or 0 if it lost none
-- since it vouched last, 5 channel, 6 what the announcement carries, 7 retention in ms
keep_clock(head, tonumber(ARGV[7]))
head = math.max(head, microseconds())
redis.call('SET', KEYS[3], digits(head))
local now, knew = milliseconds(), tonumber(ARGV[4])
local is_lost = knew > tonumber(base) and knew < tonumber(since)
if doubt ~= '0' then
  redis.call('SREM', KEYS[7], ARGV[3])
  if redis.call('SCARD', KEYS[7]) == 0 then
    doubt = '0'
    remember()
  elseif now > tonumber(doubt) then
    is_lost = true
  end
end
if is_lost then
  begin(since)
end
redis.call('ZADD', KEYS[6], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', digits(now - 60000))
redis.call('PUBLISH', ARGV[5], 'M' .. epoch .. digits(head) .. ':' .. ARGV[6])
