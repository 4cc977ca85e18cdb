-- Forgets a device. Behind feed.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes
-- ARGV  1 device id
--       7 packets of devices removed
--
-- Returns 1 if it was known. Also when memory is short: what is deleted makes room for the change noted.

local oldVersion, changesBytes = readVersion(KEYS[5], KEYS[6])
for i = 2, 4 do redis.call('HLEN', KEYS[i]) end -- fails if it is no hash
local removed = tonumber(redis.call('GET', KEYS[7])) or 0
local count = tonumber(redis.call('HGET', KEYS[1], ARGV[1])) or 0
local known = redis.call('HDEL', KEYS[1], ARGV[1])
for i = 2, 4 do redis.call('HDEL', KEYS[i], ARGV[1]) end
if known == 1 then
  redis.call('SET', KEYS[7], string.format('%.0f', removed + count))
  addChanges(KEYS[5], KEYS[6], oldVersion, changesBytes, changesToAsk({ ARGV[1] }))
end
return known
