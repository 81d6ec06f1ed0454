-- Changes what is known of a user.
-- KEYS: 1 the user, a hash: e, the address; n, the name; g, who gave them, api or token; r, 1 if mail is refused; s and m, up to
-- when the user was there and has mail of everything, in ms since 1970.
-- ARGV: 1 what: put (2 address, 3 name, 4 who gives it), remove, subscribe (2 1 or 0), mark (2 s or m, 3 when)
-- Returns 1 if anything changed, else 0.
local known = redis.call('HMGET', KEYS[1], 'e', 'n', 'g', 'r', 's', 'm')
if ARGV[1] == 'put' then
  if ARGV[4] == 'token' and known[3] == 'api' then
    return 0
  end
  if known[1] == ARGV[2] and known[2] == ARGV[3] and known[3] == ARGV[4] then
    return 0
  end
  redis.call('HSET', KEYS[1], 'e', ARGV[2], 'n', ARGV[3], 'g', ARGV[4])
  return 1
end
if ARGV[1] == 'remove' then
  redis.call('HDEL', KEYS[1], 'e', 'n', 'g', 's', 'm')
  return known[1] and 1 or 0
end
if ARGV[1] == 'subscribe' then
  if ARGV[2] == '1' then
    redis.call('HDEL', KEYS[1], 'r')
  else
    redis.call('HSET', KEYS[1], 'r', 1)
  end
  return 1
end
local mark = ARGV[2] == 's' and known[5] or known[6]
if not known[1] or tonumber(mark or 0) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
