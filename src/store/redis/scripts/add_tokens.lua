-- Adds tokens, all or none. Preceded by prelude.lua.
--
-- KEYS  1 tokens   2 ids   3 version   4 a key that does not exist
-- ARGV  of each token: kind, id, hash, record
--
-- Returns the id of a token that exists already, or false if all were added.

for i = 1, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i + 2]) == 1 then return ARGV[i + 1] end
  for _, kind in ipairs({ 'device', 'reader' }) do
    local prefix = kind .. ' ' .. ARGV[i + 1]
    if #redis.call('ZRANGEBYLEX', KEYS[2], '[' .. prefix .. ' ', '(' .. prefix .. '!', 'LIMIT', 0, 1) > 0 then
      return ARGV[i + 1]
    end
  end
end
local version = math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, clockMicros())
checkWritable(KEYS[4])
redis.call('ZADD', KEYS[4], 'XX', 0, '')
redis.call('ZREM', KEYS[4], '')
for i = 1, #ARGV, 4 do
  redis.call('HSET', KEYS[1], ARGV[i + 2], ARGV[i + 3])
  redis.call('ZADD', KEYS[2], 0, ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2])
end
redis.call('SET', KEYS[3], string.format('%.0f', version))
return false
