-- Claims an outbox, or renews the claim, and reads the oldest that waits, if all of it is more than may be read.
-- KEYS: 1 the outbox, 2 its state.  ARGV: 1 the claim, 2 for how long in ms, 3 how many, 4 how many bytes
-- Returns how many wait, how many were dropped since that was last told, the time in ms, id and fields of each that was
-- read, the numbers between which something was lost or '', and 1 if nothing had to be weighed: who has the claim reads as many
-- as it wants by itself, which costs a fifth of what it costs here. Nothing if somebody else has it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[2], 'claim', 'until', 'untold', 'lost', 'lost_to', 'bytes')
if state[1] and state[1] ~= ARGV[1] and tonumber(state[2]) > now then
  return false
end
-- Who looks often need not write often.
if state[1] ~= ARGV[1] or tonumber(state[2]) < now + ARGV[2] * 2 / 3 then
  redis.call('HSET', KEYS[2], 'claim', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
end
local untold = tonumber(state[3] or 0)
if untold > 0 then
  redis.call('HDEL', KEYS[2], 'untold')
end
local read, bytes, from, most = {}, 0, '-', tonumber(ARGV[3])
local fits = tonumber(state[6] or 0) <= tonumber(ARGV[4])
if fits then
  most = 0
end
while #read < most do
  -- A few at a time: they may be large.
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', math.min(16, most - #read))
  for _, entry in ipairs(page) do
    bytes = bytes + 64
    for _, part in ipairs(entry[2]) do
      bytes = bytes + #part
    end
    if bytes > tonumber(ARGV[4]) and #read > 0 then
      most = #read
      break
    end
    read[#read + 1] = entry
    from = '(' .. entry[1]
  end
  if #page == 0 then break end
end
return { redis.call('XLEN', KEYS[1]), untold, string.format('%.0f', now), read, state[4] or '', state[5] or '', fits and 1 or 0 }
