-- Removes rules, mutes or acknowledgements. Preceded by prelude.lua.
--
-- KEYS  1 version   2 a key that does not exist   3 the hash
-- ARGV  ids
--
-- Returns the ids of those that existed. Also when memory is short.

local removed = {}
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[3], id) == 1 then removed[#removed + 1] = id end
end
local next = math.max((tonumber(redis.call('GET', KEYS[1])) or 0) + 1, clockMicros())
redis.call('HDEL', KEYS[2], '') -- after this write Redis does not refuse the script for lack of memory
checkWritable(KEYS[2])
if #removed == 0 then return removed end
for _, id in ipairs(removed) do redis.call('HDEL', KEYS[3], id) end
redis.call('SET', KEYS[1], string.format('%.0f', next))
return removed
