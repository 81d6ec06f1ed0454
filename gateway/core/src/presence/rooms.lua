-- Lists rooms that have members, in the order of their bytes.
-- ARGV: 2 and 3 where to begin and to end as ZRANGEBYLEX takes it, 4 how many at most
-- Returns name and number of members of each; what nodes that do not know the index left in it is listed with none, and goes.
local listed = {}
for _, room in ipairs(redis.call('ZRANGEBYLEX', base .. 'rooms', ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])) do
  local count = redis.call('ZCARD', base .. 'members:' .. room)
  if count == 0 then
    redis.call('ZREM', base .. 'rooms', room)
  end
  listed[#listed + 1] = { room, count }
end
return listed
