-- Some of the revocations, and where to go on; what is over is removed on the way.
-- KEYS: the hash.  ARGV: cursor, now (seconds since 1970), how many at about
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[3])
local now, found = tonumber(ARGV[2]), {}
for i = 1, #page[2], 2 do
  local until_ = string.match(page[2][i + 1], ':(%d+)$')
  if until_ and tonumber(until_) <= now then
    redis.call('HDEL', KEYS[1], page[2][i])
  else
    found[#found + 1] = page[2][i + 1] .. ':' .. page[2][i]
  end
end
return { page[1], found }
