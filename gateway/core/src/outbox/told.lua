-- After append.lua and put.lua: what was appended is told to the outboxes that want it.
-- KEYS: from 9 on each outbox and its state.
-- ARGV: 12 the room, 13 the session and 14 the user whose doing it is, or nothing, 15 entries and 16 bytes that an outbox
-- may have; 17 and 18 the same of the archive's, which then is the last, or 0 if it is not among them; 19 the last event of the
-- room that the node knows of, or nothing; 20 the trace in which it happens, if it is in one
local of_trace = ARGV[20] and { 't', ARGV[20] } or {}
for i = 9, #KEYS, 2 do
  if ARGV[17] ~= '0' and i == #KEYS - 1 then
    -- In one field what is short: fields cost more than what they hold.
    local about = table.concat({ epoch, offset, before, ARGV[11] ~= '0' and ARGV[11] or '', ARGV[14] }, ' ')
    -- To add it up costs as much as a command.
    local weight = 67 + #about + #ARGV[12] + #ARGV[4] + (ARGV[20] and 1 + #ARGV[20] or 0)
    -- What takes something back must not be lost where the outbox is full: who asked for it was told that it is gone.
    local entries, bytes = ARGV[17], ARGV[18]
    if ARGV[11] ~= '0' then
      entries, bytes = math.huge, math.huge
    end
    if put_weighed(KEYS[i], KEYS[i + 1], entries, bytes, weight, 'p', about, 'r', ARGV[12], 'e', ARGV[4],
      unpack(of_trace)) then
      redis.call('HSETNX', KEYS[i + 1], 'lost', offset)
      redis.call('HSET', KEYS[i + 1], 'lost_to', offset)
    end
  else
    put(KEYS[i], KEYS[i + 1], ARGV[15], ARGV[16], 'k', 'publish', 'r', ARGV[12], 'n', offset, 's', ARGV[13],
      'u', ARGV[14], 'e', ARGV[4], unpack(of_trace))
  end
end
return place .. '0'
