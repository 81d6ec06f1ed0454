-- Has what was given up delivered after all, or forgets it. After put.lua.
-- KEYS: 1 the outbox, 2 its state, 3 what was given up.
-- ARGV: 1 'again' or 'drop', 2 entries and 3 bytes that the outbox may have, then ids
-- Returns how many it was.
local done = 0
for i = 4, #ARGV do
  local entry = redis.call('XRANGE', KEYS[3], ARGV[i], ARGV[i])[1]
  local is_taken = entry ~= nil
  if entry and ARGV[1] == 'again' then
    local fields = entry[2]
    -- Why it was given up stands last.
    fields[#fields], fields[#fields - 1] = nil, nil
    local weight = 64
    for _, part in ipairs(fields) do
      weight = weight + #part
    end
    local bytes = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0) + weight
    is_taken = redis.call('XLEN', KEYS[1]) < tonumber(ARGV[2]) and bytes <= tonumber(ARGV[3])
    if is_taken then
      put(KEYS[1], KEYS[2], ARGV[2], ARGV[3], unpack(fields))
    end
  end
  if is_taken then
    redis.call('XDEL', KEYS[3], ARGV[i])
    done = done + 1
  end
end
return done
