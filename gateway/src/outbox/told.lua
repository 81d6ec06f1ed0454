-- After append.lua and put.lua: what was appended is told to the outboxes that want it.
-- KEYS: from 9 on each outbox and its state.
-- ARGV: 11 the room, 12 the session and 13 the user whose doing it is, or nothing, 14 entries and 15 bytes that an outbox
-- may have
for i = 9, #KEYS, 2 do
  put(KEYS[i], KEYS[i + 1], ARGV[14], ARGV[15], 'k', 'publish', 'r', ARGV[11], 'n', offset, 's', ARGV[12], 'u', ARGV[13],
    'e', ARGV[4])
end
return place .. '0'
