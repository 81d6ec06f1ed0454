-- Gives a claim back, if it still holds.
-- KEYS: 1 the state of the outbox.  ARGV: 1 the claim
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'claim', 'until')
end
return 1
