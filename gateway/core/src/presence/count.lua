-- Counts the members of places. ARGV: from 2 the places.
local counts = {}
for i = 2, #ARGV do
  counts[i - 1] = redis.call('ZCARD', base .. 'members:' .. ARGV[i])
end
return counts
