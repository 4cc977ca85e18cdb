-- Appends events of another shard. Preceded by prelude.lua.
--
-- KEYS  1 imports   2 events   3 lineage   4 version   5 a key that does not exist
-- ARGV  1 the other shard   2 id that was imported last   3 id that is then   4… events, '<kind> <at> <last seen> <device>'
--
-- Returns the id that was imported last, now.

local imported = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if imported ~= tonumber(ARGV[2]) or ARGV[2] == ARGV[3] then return imported end
local lineage = readLineage(KEYS[3], KEYS[4])
if #ARGV > 3 then
  local last = readLastEvent(KEYS[2], lineage)
  checkWritable(KEYS[5])
  addEvents(KEYS[2], last, { unpack(ARGV, 4) })
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return tonumber(ARGV[3])
