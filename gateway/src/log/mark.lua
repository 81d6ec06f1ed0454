-- Moves the log's position to the present, and announces that; a writer says that it lives, and vouches.
-- After history.lua.
-- ARGV: 4 the writer, 5 what it knows was kept, since it vouched last: the highest offset for each process, and the highest
-- ones of before it lost connections, of which the process is not known, as '{process}:{offset} ' each, 6 channel, 7 what the
-- announcement carries
keep_clock(head)
head = math.max(head, microseconds())
local now, is_lost, goes_on = milliseconds(), false, false
for kept_by, offset in string.gmatch(ARGV[5], '(%w*):(%d+)') do
  local knew = tonumber(offset)
  local is_older = kept_by == '' and knew < tonumber(since) or kept_by ~= '' and server ~= '' and kept_by ~= server
  if is_older and knew > tonumber(base) then
    -- The process before may have gone on when this one had begun: then what is whole begins now.
    is_lost, goes_on = true, goes_on or knew >= tonumber(since)
    head = math.max(head, knew + 1)
  end
end
redis.call('SET', KEYS[3], digits(head))
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
  begin(goes_on and digits(head) or since)
end
redis.call('ZADD', KEYS[6], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', digits(now - 60000))
redis.call('PUBLISH', ARGV[6], 'M' .. epoch .. digits(head) .. ':' .. ARGV[7])
