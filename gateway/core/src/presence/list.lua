-- Lists members of a place in the order of their bytes.
-- ARGV: 2 the place, 3 where to begin as ZRANGEBYLEX takes it, 4 how many at most
-- Returns how many there are in all, then member, since when in ms, user or nothing, of each.
local members = base .. 'members:' .. ARGV[2]
local listed = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', members, ARGV[3], '+', 'LIMIT', 0, ARGV[4])) do
  local record = redis.call('HGET', base .. 'place:' .. ARGV[2], 'm' .. member) or '1:0:'
  local since, user = string.match(record, '^%d+:(%d+):(.*)$')
  listed[#listed + 1] = { member, since, user }
end
return { redis.call('ZCARD', members), listed }
