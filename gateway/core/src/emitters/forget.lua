-- Takes out of a group whoever has nothing of it, but for one: each start of a node may be under another name.
-- KEYS: 1 the stream. ARGV: 1 the group, 2 who stays
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #fields, 2 do consumer[fields[at]] = fields[at + 1] end
  if consumer.name ~= ARGV[2] and consumer.pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return 'done'
