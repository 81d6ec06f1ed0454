-- Writes entries anew as nodes read them that know of no moments: of a node, or the lingering ones.
-- ARGV: 2 node, or nothing for the lingering ones, 3 where to go on, 4 how many at about: a script holds up everybody else
-- while it runs
-- Returns where to go on, '0' at the end.
local of_node = ARGV[2] ~= ''
local key = of_node and base .. 'node:' .. string.sub(ARGV[2], 1, 16) or base .. 'lingering'
local page = redis.call(of_node and 'SSCAN' or 'ZSCAN', key, ARGV[3], 'COUNT', ARGV[4])
-- A sorted set's has a score behind each.
for i = 1, #page[2], of_node and 1 or 2 do
  local session, place = string.sub(page[2][i], 1, 32), base .. 'place:' .. string.sub(page[2][i], 33)
  local was = redis.call('HGET', place, 's' .. session)
  local holder, instance, moment, member = read(was or '')
  if moment ~= '' then
    redis.call('HSET', place, 's' .. session, written(holder, instance, '', member))
  end
end
return page[1]
