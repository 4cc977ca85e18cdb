-- Marks devices offline, each once. Preceded by prelude.lua and segments.lua.
--
-- KEYS  1 records   2 events   3 version   4 changes   5 lineage   6 a key that does not exist
--       7 logs
-- ARGV  1 devices last seen before this are offline, Unix ms   2 now, Unix ms   3… device ids
--
-- Returns how many devices went offline.

local records, events, version, changes, lineageKey, nothing, logs = unpack(KEYS)
local before, now = tonumber(ARGV[1]), ARGV[2]
-- Packets that are still in a log are later than the records: so much less silence is certain.
before = before - math.max(0, now - (oldestInLogs(logs) or now))
-- A last seen ahead of that was written before the clock was set back.
local latestSeen = now + CLOCK_AHEAD_MS

local versions = readVersion(version, changes)
local lastEvent = readLastEvent(events, readLineage(lineageKey, version))
local newRecords, newEvents, changed, seen = {}, {}, {}, {}
for i, packed in ipairs(redis.call('HMGET', records, unpack(ARGV, 3))) do
  local id = ARGV[2 + i]
  if packed and not seen[id] then
    seen[id] = true
    local RECORD_FIELDS = struct.unpack(RECORD, packed)
    local last = lastSeenMs
    if online == 1 and (last < before or last > latestSeen) then
      online = 0
      newRecords[#newRecords + 1] = id
      newRecords[#newRecords + 1] = struct.pack(RECORD, RECORD_FIELDS) .. string.sub(packed, RECORD_BYTES + 1)
      newEvents[#newEvents + 1] = string.format('offline %s %.0f ', now, math.min(last, now)) .. id
      changed[#changed + 1] = id
    end
  end
end
if #changed > 0 then
  checkWritable(nothing)
  redis.call('HSET', records, unpack(newRecords))
  addEvents(events, lastEvent, newEvents)
  addChanges(version, changes, versions, invalidationPart(changed))
end
return #changed
