-- Deletes devices. Preceded by prelude.lua, segments.lua and samples.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes   7 a key that does not exist
--       8 packets of devices removed   9 counts set aside   10 logs   11 how many devices were removed
--       12 hashes of the last of them   13 labels   14 notes   15 version   16 changes of labels
--       17 samples   18 their state   19 feed   20 values   21 minutes   22 hours of values
-- ARGV  1 only devices last seen before this, Unix ms; or '': all of them   2… two per device: its id, and the hash of it
--
-- Returns how many existed, or had labels only, and were deleted. Also when memory is short: what is deleted makes room for the entry in the
-- list of changes.

local HASHES, nothing = { 1, 2, 3, 4, 9, 13, 14, 20, 21, 22 }, KEYS[7]
local before = tonumber(ARGV[1])
-- Packets that are still in a log are later than the records: so much less silence is certain.
if before then before = before - math.max(0, clockMs() - (oldestInLogs(KEYS[10]) or clockMs())) end

local versions, labelVersions = readVersion(KEYS[5], KEYS[6]), readVersion(KEYS[15], KEYS[16])
for _, i in ipairs(HASHES) do redis.call('HLEN', KEYS[i]) end -- fails if it is no hash
local removed = tonumber(redis.call('GET', KEYS[8])) or 0
local removals = tonumber(redis.call('GET', KEYS[11])) or 0
redis.call('LLEN', KEYS[12]) -- fails if it is no list
local samples = readSamples(unpack(KEYS, 17, 19))
-- Of them an ingest must know: see deferred_packets.ts.
local REMOVALS_KEPT = 10000

-- A device that only another program counted was never seen.
local function isUnseen(id)
  local record = redis.call('HGET', KEYS[2], id)
  if not record then return false end
  local RECORD_FIELDS = struct.unpack(RECORD, record)
  return lastSeenMs > 0 and lastSeenMs < before
end

local ids, known, hashes, seen, labelled, labelledOnly = {}, {}, {}, {}, {}, 0
for i = 2, #ARGV, 2 do
  local id, hash = ARGV[i], ARGV[i + 1]
  if not seen[id] and (not before or isUnseen(id)) then
    seen[id] = true
    ids[#ids + 1] = id
    local count = redis.call('HGET', KEYS[1], id)
    if count then known[#known + 1], hashes[#known + 1] = id, hash end
    if redis.call('HEXISTS', KEYS[13], id) == 1 then
      labelled[#labelled + 1] = id
      if not count then labelledOnly = labelledOnly + 1 end
    end
    -- A value of another program that is no count was never counted.
    removed = removed + (count and string.find(count, '^%d+$') and tonumber(count) or 0)
  end
end
if #ids == 0 then return 0 end
redis.call('HDEL', nothing, '') -- after this write Redis does not refuse the script for lack of memory
checkWritable(nothing)
for _, i in ipairs(HASHES) do redis.call('HDEL', KEYS[i], unpack(ids)) end
appendRemoved(samples, ids)
feedValues(samples, packList(ids))
writeSamples(samples)
if #known > 0 then
  redis.call('SET', KEYS[8], string.format('%.0f', removed))
  addChanges(KEYS[5], KEYS[6], versions, invalidationPart(known))
  redis.call('SET', KEYS[11], string.format('%.0f', removals + #known))
  redis.call('RPUSH', KEYS[12], unpack(hashes))
  redis.call('LTRIM', KEYS[12], -REMOVALS_KEPT, -1)
end
if #labelled > 0 then addChanges(KEYS[15], KEYS[16], labelVersions, invalidationPart(labelled)) end
return #known + labelledOnly
