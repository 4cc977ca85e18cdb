-- Writes the state of alerts. Preceded by prelude.lua.
--
-- KEYS  1 owner of the lease   2 version   3 a key that does not exist   4… a hash of each section
-- ARGV  1 owner of the lease   2… of each entry: index of its hash from 1 on, field, '+' and its body, or '' to remove it
--
-- Returns the new version, or false if another owner has the lease, or none has.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local next = string.format('%.0f', math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, clockMicros()))
checkWritable(KEYS[3])
for i = 2, #ARGV, 3 do
  local key, body = KEYS[3 + ARGV[i]], ARGV[i + 2]
  if body == '' then redis.call('HDEL', key, ARGV[i + 1])
  else redis.call('HSET', key, ARGV[i + 1], string.sub(body, 2)) end
end
redis.call('SET', KEYS[2], next)
return next
