-- Takes out what was delivered, or is given up, if the claim still holds.
-- KEYS: 1 the outbox, 2 its state, 3 what was given up.
-- ARGV: 1 the claim, 2 for how long it holds now in ms, 3 why it is given up, or nothing, 4 how much of that is kept, then ids
-- Returns 1, or 0 if somebody else has taken over.
if redis.call('HGET', KEYS[2], 'claim') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'until', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]))
local bytes = 0
for i = 5, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if entry then
    redis.call('XDEL', KEYS[1], ARGV[i])
    local fields = entry[2]
    bytes = bytes + 64
    for _, part in ipairs(fields) do
      bytes = bytes + #part
    end
    if ARGV[3] ~= '' then
      fields[#fields + 1] = 'w'
      fields[#fields + 1] = ARGV[3]
      redis.call('XADD', KEYS[3], '*', unpack(fields))
    end
  end
end
if bytes > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
end
if ARGV[3] ~= '' then
  redis.call('XTRIM', KEYS[3], 'MAXLEN', ARGV[4])
end
return 1
