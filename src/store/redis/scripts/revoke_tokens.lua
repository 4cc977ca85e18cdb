-- Deletes tokens. Preceded by prelude.lua.
--
-- KEYS  1 tokens   2 ids   3 version   4 a key that does not exist   5 uses
-- ARGV  ids
--
-- Returns the records and the uses of those that existed. Also when memory is short.

local members, records, uses = {}, {}, {}
for _, id in ipairs(ARGV) do
  for _, kind in ipairs({ 'device', 'reader' }) do
    local prefix = kind .. ' ' .. id
    local found = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. prefix .. ' ', '(' .. prefix .. '!')
    for _, member in ipairs(found) do members[#members + 1] = member end
  end
end
for i, member in ipairs(members) do
  local hash = string.match(member, '%S+$')
  records[i], uses[i] = redis.call('HGET', KEYS[1], hash), redis.call('HGET', KEYS[5], hash)
end
local version = math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, clockMicros())
redis.call('HDEL', KEYS[4], '') -- after this write Redis does not refuse the script for lack of memory
checkWritable(KEYS[4])
redis.call('ZREM', KEYS[4], '')
if #members == 0 then return { records, uses } end
for _, member in ipairs(members) do
  local hash = string.match(member, '%S+$')
  redis.call('HDEL', KEYS[1], hash)
  redis.call('HDEL', KEYS[5], hash)
  redis.call('ZREM', KEYS[2], member)
end
redis.call('SET', KEYS[3], string.format('%.0f', version))
return { records, uses }
