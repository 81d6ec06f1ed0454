-- Finds out which of those who added a job under the same id was the first. KEYS: the job. ARGV: who asks. A job that has come and
-- gone meanwhile was this one's.
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
return redis.call('HSETNX', KEYS[1], 'gatewayBy', ARGV[1])
