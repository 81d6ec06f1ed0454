-- Notes why an attempt has failed, if whoever says so still has the job. KEYS: the job, its lock. ARGV: the token, why, how many
-- attempts that counts. Returns whether it was noted.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'failedReason', ARGV[2])
if ARGV[3] ~= '0' then redis.call('HINCRBY', KEYS[1], 'atm', ARGV[3]) end
return 1
