-- Begins a tick of a plan, passes it, or looks which was the last.
-- KEYS: 1 the plan, a hash: t, its last tick that was begun or passed, in ms since 1970; p, the one up to which nothing is begun that
-- was not begun before. 2 its ticks that were begun and have not ended, 3 those that have, as far as they could be begun; both sorted
-- ARGV: 1 the tick, 2 begin, pass or look, 3 how long it is kept in ms, 4 how many may be under way, 5 how old a tick may be in ms
-- Returns, if it begins, 1 if the tick is to be done, else 0; otherwise the last tick, which is this one if there was none.
local known = redis.call('HMGET', KEYS[1], 't', 'p')
local last, passed = tonumber(known[1]), tonumber(known[2])
local tick = tonumber(ARGV[1])
if ARGV[2] ~= 'begin' then
  if ARGV[2] == 'pass' or not last then
    if not passed or tick > passed then
      redis.call('HSET', KEYS[1], 'p', ARGV[1])
    end
    if not last or tick > last then
      redis.call('HSET', KEYS[1], 't', ARGV[1])
      last = tick
    end
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
  return last
end
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return 1
end
local is_old = last and tick + tonumber(ARGV[5]) <= last
if is_old or (passed and tick <= passed) or redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return 0
end
if not last or tick > last then
  redis.call('HSET', KEYS[1], 't', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[1], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
