-- Moves the log's position to the present, and announces that; a writer says that it lives, and vouches.
-- After history.lua.
-- ARGV: 4 the writer, 5 channel, 6 what the announcement carries
keep_clock(head)
head = math.max(head, microseconds())
redis.call('SET', KEYS[3], digits(head))
local now = milliseconds()
if doubt ~= '0' then
  redis.call('SREM', KEYS[7], ARGV[4])
  local all_vouched = redis.call('SCARD', KEYS[7]) == 0
  if all_vouched or now > tonumber(doubt) then
    doubt = '0'
    remember()
    redis.call('DEL', KEYS[7])
    if not all_vouched then
      -- Whoever said nothing may have gone on with the process before, for as long as it lived.
      begin()
    end
  end
end
redis.call('ZADD', KEYS[6], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', digits(now - 60000))
redis.call('PUBLISH', ARGV[5], 'M' .. epoch .. digits(head) .. ':' .. ARGV[6])
