-- Adds a part of the devices of a log's oldest segments to their counts and records, in one step with how far the log is
-- merged. Preceded by prelude.lua, histories.lua, devices.lua, segments.lua and samples.lua.
--
-- KEYS  1 to 10: as devices.lua lists them   11 packets of devices removed   12 log   13 logs
--       14 samples   15 their state   16 feed
--       17… segments to delete: with the last part, those whose devices are all merged
-- ARGV  1 to 5: as devices.lua lists them   6 when the packets of each were received last, as doubles
--       7 name of the log   8 its owner   9 how far it is merged   10 and after this
--       11 the last segment that is merged with this   12 when the oldest packets after it were received, 0: unknown
--       13 how many of the payloads are sampled   14 the ids of their devices, 15 the payloads, 16 when each was received;
--       '' each: those of 2, 5 and 6   17… numbers of the segments to delete
--
-- A device that is missing was removed after its packets were acknowledged: they count as removed with it.
--
-- Returns three values: 0 if it is merged, 1 if it was before, 2 if another process has the log, or it was reverted, so
-- that nothing was done, 3 likewise if there is no such log: all of it was merged, or the store was emptied; the ids and
-- values of counts that were set aside; the zero-based indexes of devices that are missing.

local removedKey, log, logs, FIRST_SEGMENT, FIRST_NUMBER = KEYS[11], KEYS[12], KEYS[13], 17, 17
local name, owner, merge, mergeAfter, to, since = unpack(ARGV, 7, 12)
packedSeen = ARGV[6]

local state = readLog(log, owner)
if not state then return { redis.call('HLEN', log) == 0 and 3 or 2, {}, {} } end
if state.merge == mergeAfter then return { 1, {}, {} } end
-- A store that was reverted has fewer segments than were committed.
if state.merge ~= merge or state.committed < tonumber(to) then return { 2, {}, {} } end

-- All that is read.
redis.call('HLEN', payloads) -- fails if it is no hash
redis.call('HLEN', setAside)
local removedText = redis.call('GET', removedKey) or '0'
local removed, missing, missingIds = tonumber(removedText), {}, {}
local sampled = tonumber(ARGV[13])
local samples = sampled > 0 and readSamples(KEYS[14], KEYS[15], KEYS[16])
if not removed then error(removedKey .. ' holds a number Tally did not write: ' .. removedText) end
local versions = readVersion(version, changes)
addDevices(function(index, i)
  missing[#missing + 1] = index
  missingIds[#missingIds + 1] = ids[i]
  removed = removed + packets[i]
  return true
end)
local lastEvent = #newEvents > 0 and readLastEvent(events, readLineage(lineageKey, version))

-- All that is written: none of it can be refused.
checkWritable(nothing)
writeDevices()
if #missing > 0 then redis.call('SET', removedKey, string.format('%.0f', removed)) end
if samples then
  local sampledIds, sampledPayloads, sampledSeen = unpack(ARGV, 14, 16)
  if sampledIds == '' then sampledIds, sampledPayloads, sampledSeen = packedIds, packedPayloads, packedSeen end
  appendSamples(samples, SAMPLES, receivedAt, sampled, sampledIds, sampledPayloads, sampledSeen)
  if #missingIds > 0 then appendRemoved(samples, missingIds) end
  writeSamples(samples)
end
if #chunks > 0 then addChanges(version, changes, versions, table.concat(changed)) end
if lastEvent then addEvents(events, lastEvent, newEvents) end
redis.call('HSET', log, 'merge', mergeAfter)
for i = FIRST_SEGMENT, #KEYS do
  redis.call('PEXPIRE', KEYS[i], 0)
  redis.call('HDEL', log, ARGV[FIRST_NUMBER + i - FIRST_SEGMENT])
end
local isLast = #KEYS >= FIRST_SEGMENT
if isLast and state.committed == tonumber(to) then
  redis.call('HDEL', log, 'owner', 'committed', 'merge')
  redis.call('HDEL', logs, name)
else
  writeLease(logs, name, isLast and since ~= '0' and tonumber(since) or nil)
end
return { 0, aside, missing }
