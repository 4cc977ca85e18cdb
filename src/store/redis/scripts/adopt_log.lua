-- Takes a log over whose owner has ended, or hangs. Preceded by prelude.lua and segments.lua.
--
-- KEYS  1 log   2 logs
-- ARGV  1 name of the log   2 its new owner
--
-- Returns the log's fields and values, or nothing if its owner has it, or if it is empty.

local value = redis.call('HGET', KEYS[2], ARGV[1])
local untilMs = tonumber(string.match(value or '', '^%d+'))
if untilMs and untilMs > clockMs() then return {} end
if redis.call('HLEN', KEYS[1]) == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return {}
end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
writeLease(KEYS[2], ARGV[1])
return redis.call('HGETALL', KEYS[1])
