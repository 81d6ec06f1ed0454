-- Notes a run of a schedule.
-- KEYS: 1 the plan, a hash: t, its last tick; 2 its ticks that were begun and have not ended, 3 those that have, as far as they could
-- be begun again; both sorted by time. 4 the runs of the schedule, newest first
-- ARGV: 1 the tick if it has ended with this run, else nothing, 2 the run, 3 how many are kept, 4 how long in ms, 5 how old a tick
-- may be that is begun, in ms
if ARGV[1] ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[1])
  local last = tonumber(redis.call('HGET', KEYS[1], 't') or ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', last - tonumber(ARGV[5])))
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
redis.call('LPUSH', KEYS[4], ARGV[2])
redis.call('LTRIM', KEYS[4], 0, ARGV[3] - 1)
redis.call('PEXPIRE', KEYS[4], ARGV[4])
return 1
