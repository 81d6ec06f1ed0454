-- Notes in the options of a job in which trace it is, as BullMQ's libraries for other languages do. KEYS: the job. ARGV: what they
-- keep, as JSON.
local options = redis.call('HGET', KEYS[1], 'opts')
if not options or string.sub(options, 1, 1) ~= '{' then return 0 end
local rest = string.sub(options, 2)
redis.call('HSET', KEYS[1], 'opts', '{"tm":' .. ARGV[1] .. (rest == '}' and '' or ',') .. rest)
return 1
