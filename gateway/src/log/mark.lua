-- Moves the log's position to the present, and announces that; a writer says that it lives, and vouches.
-- After history.lua.
-- ARGV: 4 the writer, 5 the highest offsets that it knew when it lost connections since it vouched last, with spaces between,
-- 6 channel, 7 what the announcement carries
keep_clock(head)
head = math.max(head, microseconds())
redis.call('SET', KEYS[3], digits(head))
local now, is_lost = milliseconds(), false
for knew in string.gmatch(ARGV[5], '%d+') do
  is_lost = is_lost or tonumber(knew) > tonumber(base) and tonumber(knew) < tonumber(since)
end
if doubt ~= '0' then
  redis.call('SREM', KEYS[7], ARGV[4])
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
redis.call('ZADD', KEYS[6], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', digits(now - 60000))
redis.call('PUBLISH', ARGV[6], 'M' .. epoch .. digits(head) .. ':' .. ARGV[7])
