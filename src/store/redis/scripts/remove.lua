-- Deletes a device. Preceded by prelude.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes   7 a key that does not exist
--       8 packets of devices removed
-- ARGV  1 device id
--
-- Returns 1 if it existed. Also when memory is short: what is deleted makes room for the entry in the list of changes.

local versions = readVersion(KEYS[5], KEYS[6])
for i = 2, 4 do redis.call('HLEN', KEYS[i]) end -- fails if it is no hash
local removed = tonumber(redis.call('GET', KEYS[8])) or 0
local count = redis.call('HGET', KEYS[1], ARGV[1])
-- A value of another program that is no count was never counted.
count = count and string.find(count, '^%d+$') and tonumber(count) or 0
redis.call('HDEL', KEYS[7], '') -- after this write Redis does not refuse the script for lack of memory
checkWritable(KEYS[7])
local known = redis.call('HDEL', KEYS[1], ARGV[1])
for i = 2, 4 do redis.call('HDEL', KEYS[i], ARGV[1]) end
if known == 1 then
  redis.call('SET', KEYS[8], string.format('%.0f', removed + count))
  addChanges(KEYS[5], KEYS[6], versions, invalidationPart({ ARGV[1] }))
end
return known
