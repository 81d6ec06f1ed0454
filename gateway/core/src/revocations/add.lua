-- Keeps a revocation and announces it; of what there is already, the later times stay.
-- KEYS: the hash.  ARGV: field, before, until, now (seconds since 1970), channel
local before, until_ = tonumber(ARGV[2]), tonumber(ARGV[3])
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local old_before, old_until = string.match(old, '^(%d+):(%d+)$')
  before = math.max(before, tonumber(old_before or 0))
  until_ = math.max(until_, tonumber(old_until or 0))
end
local value = string.format('%d:%d', before, until_)
redis.call('HSET', KEYS[1], ARGV[1], value)
-- The hash goes with its last entry.
local left = until_ - tonumber(ARGV[4])
if redis.call('TTL', KEYS[1]) < left then
  redis.call('EXPIRE', KEYS[1], left)
end
redis.call('PUBLISH', ARGV[5], value .. ':' .. ARGV[1])
return 1
