-- Applies one batch, all of it or nothing, once. Preceded by prelude.lua, histories.lua, devices.lua, segments.lua,
-- samples.lua and packet_stream.lua.
--
-- The packets of some devices are added to their counts and records here; those of the others, if there are any, are
-- in a *segment*: a key that was written before and that this script makes part of a segment log, see segment_log.ts.
--
-- KEYS  1 to 10: as devices.lua lists them
--       11 packets per second   12 per minute   13 per hour   14 producer   15 new devices of the current minute
--       16 segment   17 log   18 logs   19 how many devices were removed   20 hashes of the last of them
--       21 packet stream   22 samples   23 their state   24 feed   25… one per session
-- ARGV  1 to 5: as devices.lua lists them
--       6 sequence of the batch
--       7 sequence of the producer's batch applied before it; 0: none was, or it may have expired
--       8 expiry of the producer, ms
--       9 expiry of a session, ms
--       10 devices in all   11 new devices of a minute: as many there may be
--       12 number of the segment in its log, 0: there is none   13 packets in it   14 name of the log, and of its owner
--       15 name of the segment's key
--       16 how many devices were removed when this process looked last; '': it never did
--       17 position in the batch of each device that is counted here; '': those are all
--       18 entries of the packet stream, 0: nothing is appended to it   19 what is, see packet_stream.lua
--       20 how many of the payloads are sampled   21 the ids of their devices, 22 the payloads; '' and '': those of 2 and 5
--       23… two per session: the value it must have, the value it gets
--
-- Returns up to seven values. The first has three numbers for each session that does not have the value it must have:
-- its zero-based index; 1 if the store was reverted, or lost the session, and 0 if a newer stream claimed it; and
-- how many of its packets are settled. Empty: the batch is applied, now or before. The second has the ids and
-- values of counts that were set aside, at most ASIDE_REPORTED of each. The third is the limit that refused devices,
-- empty if none did, and the fourth has their zero-based positions in the batch. The fifth is
--   0 if the batch is applied
--   1 if the log is not as this process left it, because another process has taken it over, or the store was reverted
--   2 if devices were removed meanwhile, which may be in the segment: the sixth is how many were removed in all, and the
--     seventh has the hashes of their ids, or is false if they are not known any more
--   3 if the batch was applied before
--   4 if this user may not run PERSIST
--   5 if the batch is applied and the store was reverted or emptied before it
--   6 if all of the log was merged, so that it does not exist any more
-- and with 1, 2, 4 and 6 nothing was applied. The sixth is returned also with 0 and 5.
--
-- Everything is read and checked first and written last, because Redis does not undo what a failed
-- script wrote. Each key is read, or its type looked at, before anything is written.

local FIRST_FLEET, producer, newDevicesKey, FIRST_SESSION, FIRST_VALUE = 11, KEYS[14], KEYS[15], 25, 23
local sequence, previous, producerExpiryMs, sessionExpiryMs = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
local maxDevices, maxNewPerMinute = tonumber(ARGV[10]), tonumber(ARGV[11])
local segment, log, logs = unpack(KEYS, 16, 18)
local sampled = tonumber(ARGV[20])
-- Batches from one after which makeTables() runs to the next.
local TABLES_EVERY = 64
local segmentNumber, segmentPackets, logName, segmentName = tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[14], ARGV[15]

-- Sessions ------------------------------------------------------------------------------------------------------

-- A session that is missing, has a lower epoch, or the stream's own epoch and another offset, was reverted with all
-- the data; only one that is missing may have been evicted, or have expired, alone: then this producer's last batch
-- is still there (`intact`), and so are the packets. It is written again, for its next claim; its stream does not
-- continue, for it may have been a newer stream's.
local function fence(found, index, value, intact)
  local epoch, from = string.match(ARGV[FIRST_VALUE + 2 * index], '^(%d+) (%d+)$')
  local foundEpoch, committed = string.match(value or '', '^(%d+) (%d+)$')
  local superseded = foundEpoch and tonumber(foundEpoch) > tonumber(epoch)
  if not foundEpoch then committed = intact and from or 0 end
  if not foundEpoch and intact and previous > 0 then found.missing[#found.missing + 1] = index end
  found.reverted = found.reverted or not superseded and (foundEpoch or not intact)
  local fenced = found.fenced
  fenced[#fenced + 1] = index
  fenced[#fenced + 1] = superseded and 0 or 1
  fenced[#fenced + 1] = tonumber(committed)
end

-- Which streams no longer own their session, or find it at another offset than they left it.
local function checkSessions(intact)
  local found = { fenced = {}, missing = {}, reverted = false }
  for from = FIRST_SESSION, #KEYS, CHUNK do
    local to = math.min(from + CHUNK - 1, #KEYS)
    local values = redis.call('MGET', unpack(KEYS, from, to))
    for i = 1, to - from + 1 do
      local index = from + i - 1 - FIRST_SESSION
      if values[i] ~= ARGV[FIRST_VALUE + 2 * index] then fence(found, index, values[i], intact) end
    end
  end
  return found
end

-- Limits of devices: how many more may be added, which were refused, and the minute of those that were added.
local limits = { room = 0, added = 0, refused = {}, refusedIds = {}, reached = '', minute = 0, before = 0 }

-- A batch may come later than one of the next minute: it counts in that one. A minute far ahead was written before the
-- clock was set back.
local function readLimits()
  local value = redis.call('GET', newDevicesKey)
  local at, before = string.match(value or '0 0', '^(%d+) (%d+)$')
  if not at then error(newDevicesKey .. ' holds a value Tally did not write: ' .. value) end
  at, before = tonumber(at), tonumber(before)
  local current = at >= minute and at <= minute + HOUR_MS / MINUTE_MS
  limits.minute, limits.before = current and at or minute, current and before or 0
  local inAll, inMinute = maxDevices - redis.call('HLEN', counts), maxNewPerMinute - limits.before
  limits.room = math.min(inAll, inMinute)
  limits.reached = inAll <= inMinute and 'maxDevices' or 'maxNewPerMinute'
end

-- For withoutNew(): whether a new device finds no room; `i`: its index in the chunk.
local function refuses(index, i)
  if limits.added >= limits.room then
    limits.refused[#limits.refused + 1] = index
    limits.refusedIds[#limits.refusedIds + 1] = ids[i]
    return true
  end
  limits.added = limits.added + 1
  return false
end

-- `indexes`: of devices that are counted here.
local function positionsOf(indexes)
  if ARGV[17] == '' or #indexes == 0 then return indexes end
  local positions, found = {}, {}
  for position in string.gmatch(ARGV[17], '%d+') do positions[#positions + 1] = tonumber(position) end
  for i = 1, #indexes do found[i] = positions[indexes[i] + 1] end
  return found
end

-- The fleet's periods: which field of which key, its new value, and how long it is kept: twice as long
-- as it is shown, for clocks that differ.
local function addToFleet()
  local fleet = {}
  for i, period in ipairs({ { 1000, HISTORY_SECONDS }, { MINUTE_MS, HISTORY_MINUTES }, { HOUR_MS, HISTORY_HOURS } }) do
    local periodMs, shown = unpack(period)
    local key, field = KEYS[FIRST_FLEET + i - 1], math.floor(receivedAt / periodMs)
    local old = redis.call('HGET', key, field)
    if old and not tonumber(old) then error(key .. ' holds a count that is not a number: ' .. old) end
    fleet[i] = { key, field, tonumber(old or 0) + total, 2 * periodMs * shown }
  end
  return fleet
end

local function writeFleet(fleet)
  for i = 1, #fleet do
    local key, field, value, expiryMs = unpack(fleet[i])
    redis.call('HSET', key, field, value)
    redis.call('PEXPIRE', key, expiryMs)
  end
end

-- The batch -----------------------------------------------------------------------------------------------------

-- 1. Applied before? Even then something is written, so that a WAIT or WAITAOF that follows covers the
-- batch: they only cover what their own connection wrote, and the batch may have arrived on another one.
-- The producer's value is its last sequence; after that the limit and the devices that it refused, if any.
local appliedText, reachedBefore, refusedBefore = string.match(redis.call('GET', producer) or '0', '^(%d+) ?(%a*) ?(.*)$')
local applied = tonumber(appliedText)
if tonumber(sequence) <= applied then
  redis.call('PEXPIRE', producer, producerExpiryMs)
  local refused = {}
  if tonumber(sequence) == applied then
    for index in string.gmatch(refusedBefore, '%d+') do refused[#refused + 1] = tonumber(index) end
  end
  return { {}, {}, reachedBefore, refused, 3 }
end

-- 2. Is every session where its stream left it?
local intact = previous == 0 or applied == previous
local found = checkSessions(intact)
if #found.fenced > 0 then
  local lineage = found.reverted and readLineage(lineageKey, version)
  if lineage then writeLineage(lineageKey, lineage.began, clockMs()) end
  for _, index in ipairs(found.missing) do
    redis.call('SET', KEYS[FIRST_SESSION + index], ARGV[FIRST_VALUE + 2 * index], 'PX', sessionExpiryMs)
  end
  return { found.fenced, {}, '', {}, 0 }
end

-- 3. Is the log where this process left it?
local logBefore = segmentNumber > 1 and readLog(log, logName)
if segmentNumber > 0 then
  local committed = logBefore and logBefore.committed or redis.call('HLEN', log) == 0 and segmentNumber == 1 and 0
  -- In a store that was reverted or emptied, devices that this process knows may be missing.
  if not intact or committed ~= segmentNumber - 1 then
    -- A store that has all that this producer wrote lacks a log only when it was merged.
    local isMerged = intact and previous > 0 and redis.call('HLEN', log) == 0
    return { {}, {}, '', {}, isMerged and 6 or 1 }
  end
  if redis.call('PTTL', segment) == -2 then error('the segment ' .. segment .. ' was not written before') end
  redis.call('HLEN', logs) -- fails if it is no hash
  local mayPersist = redis.pcall('PERSIST', nothing)
  if type(mayPersist) == 'table' and mayPersist.err then return { {}, {}, '', {}, 4 } end
  local removals, known = redis.call('GET', KEYS[19]) or '0', ARGV[16]
  if removals ~= known then
    local n = known ~= "" and removals - known or -1
    local hashes = n >= 0 and n <= redis.call('LLEN', KEYS[20]) and redis.call('LRANGE', KEYS[20], -n, -1)
    return { {}, {}, '', {}, 2, removals, hashes }
  end
  total = segmentPackets
end

-- 4. All that is read.
redis.call('HLEN', payloads) -- fails if it is no hash
redis.call('HLEN', setAside)
local versions = readVersion(version, changes)
if devices > 0 then readLimits() end
if appendsPackets then checkPacketStream(nothing) end
addDevices(refuses)
local refused, reached = positionsOf(limits.refused), #limits.refused > 0 and limits.reached or ''
-- The producer's last batch is missing: the store was reverted, also if no session shows it.
local lineage = not intact and readLineage(lineageKey, version)
local lastEvent = #newEvents > 0 and readLastEvent(events, readLineage(lineageKey, version))
local fleet = addToFleet()
local samples = sampled > 0 and readSamples(KEYS[22], KEYS[23], KEYS[24])

-- 5. All that is written: none of it can be refused.
checkWritable(nothing)
writeDevices()
for key = FIRST_SESSION, #KEYS do
  redis.call('SET', KEYS[key], ARGV[FIRST_VALUE + 1 + 2 * (key - FIRST_SESSION)], 'PX', sessionExpiryMs)
end
local refusal = #refused > 0 and ' ' .. reached .. ' ' .. table.concat(refused, ' ') or ''
redis.call('SET', producer, sequence .. refusal, 'PX', producerExpiryMs)
if limits.added > 0 then redis.call('SET', newDevicesKey, limits.minute .. ' ' .. limits.before + limits.added) end
if lineage then writeLineage(lineageKey, lineage.began, clockMs()) end
if #chunks > 0 then
  if tonumber(sequence) % TABLES_EVERY == 1 then makeTables() end
  if versions.last == 0 and not redis.call('GET', lineageKey) then writeLineage(lineageKey, clockMs(), 0) end
  addChanges(version, changes, versions, table.concat(changed))
end
if total > 0 then writeFleet(fleet) end
if segmentNumber > 0 then
  redis.call('PERSIST', segment)
  if not logBefore then redis.call('HSET', log, 'owner', logName, 'merge', '0 0 0 0') end
  redis.call('HSET', log, 'committed', segmentNumber, segmentNumber, segmentName)
  local wasEmpty = not logBefore or logBefore.merged == logBefore.committed
  writeLease(logs, logName, wasEmpty and receivedAt or nil)
end
if samples then
  local isAll = ARGV[21] == ''
  appendSamples(samples, SAMPLES, receivedAt, sampled, isAll and packedIds or ARGV[21], isAll and packedPayloads or ARGV[22], '')
  if #limits.refusedIds > 0 then appendRemoved(samples, limits.refusedIds) end
  writeSamples(samples)
end
if lastEvent then addEvents(events, lastEvent, newEvents) end
if appendsPackets then appendPackets(refused) end
return { {}, aside, reached, refused, intact and 0 or 5, redis.call('GET', KEYS[19]) or '0' }
