-- Claims or renews the lease to deliver events. Preceded by prelude.lua.
--
-- KEYS  1 owner   2 id of the last event delivered   3 events   4 lineage   5 version
-- ARGV  1 who claims it   2 for how long, ms
--
-- Returns the id of the last event delivered, or false while another owner holds the lease.

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
local delivered = redis.call('GET', KEYS[2])
if not delivered then
  local lineage = readLineage(KEYS[4], KEYS[5])
  if not lineage then
    lineage = { began = clockMs(), reverted = 0 }
    writeLineage(KEYS[4], lineage.began, lineage.reverted)
  end
  delivered = string.format('%.0f', readLastEvent(KEYS[3], lineage))
  redis.call('SET', KEYS[2], delivered)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return delivered
