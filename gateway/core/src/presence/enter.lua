-- Enters a session into places.
-- ARGV: 2 node, 3 session, 4 holder, 5 moment or nothing, 6 member, 7 user or nothing, 8 '1' to yield to another holder, then name and
-- capacity (-1 for none) of each place, and what outboxes want
-- Returns what came of each and its sequence number, or nothing if the node is not known.
if not is_alive(ARGV[2]) then
  return false
end
local who = {
  instance = string.sub(ARGV[2], 1, 16), session = ARGV[3], holder = ARGV[4], moment = ARGV[5], member = ARGV[6],
  user = ARGV[7], yields = ARGV[8] == '1',
}
local entered = {}
for i = 9, #ARGV - 1, 2 do
  entered[#entered + 1] = { enter(who, ARGV[i], tonumber(ARGV[i + 1])) }
end
return entered
