-- Applies one batch, all of it or nothing, once. Preceded by prelude.lua and histories.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes   7 events   8 lineage
--       9 counts set aside   10 a key that does not exist   11 packets per second   12 per minute   13 per hour
--       14 producer   15 new devices of the current minute   16… one per session
-- ARGV  1 sequence of the batch
--       2 sequence of the producer's batch applied before it; 0: none was, or it may have expired
--       3 when its packets were received, Unix ms
--       4 expiry of the producer, ms
--       5 expiry of a session, ms
--       6 the devices' ids, each preceded by its length in one byte
--       7 packets of each, 8 newest timestamp of each: as doubles
--       9 its payload, preceded by its length in 32 bits
--       10 devices in all   11 new devices of a minute: as many there may be
--       12… two per session: the value it must have, the value it gets
--
-- Returns four values. The first has three numbers for each session that does not have the value it must have:
-- its zero-based index; 1 if the store was reverted, or lost the session, and 0 if a newer stream claimed it; and
-- how many of its packets are settled. Empty: the batch is applied, now or before. The second has the ids and
-- values of counts that were set aside, at most ASIDE_REPORTED of each. The third is the limit that refused devices,
-- empty if none did, and the fourth has their zero-based indexes.
--
-- Everything is read and checked first and written last, because Redis does not undo what a failed
-- script wrote. Each key is read, or its type looked at, before anything is written.

local counts, records, payloads, histories, version, changes, events, lineageKey, setAside, nothing = unpack(KEYS, 1, 10)
local FIRST_FLEET, producer, newDevicesKey, FIRST_SESSION, FIRST_VALUE = 11, KEYS[14], KEYS[15], 16, 12
local sequence, previous, receivedAt, producerExpiryMs, sessionExpiryMs =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local packedIds, packedPackets, packedTimestamps, packedPayloads = unpack(ARGV, 6, 9)
local maxDevices, maxNewPerMinute = tonumber(ARGV[10]), tonumber(ARGV[11])
local devices = #packedPackets / 8

-- Called for each device: as locals they save two lookups a call.
local find, floor, pack, tonumber, unpackOne = string.find, math.floor, struct.pack, tonumber, struct.unpack

-- Devices or keys per command: two values each stay well below the 8,000 that unpack() can return.
local CHUNK = 1000

-- Counts are integers below 2^53, exact as doubles. They are passed to Redis as numbers, which it writes in
-- plain decimal; tostring() would give those from 1e14 on an exponent, and string.format() takes longer.
local MAX_COUNT = 2 ^ 53 - 1

local MINUTE_MS, HOUR_MS = 60000, 3600000
local minute, hour = math.floor(receivedAt / MINUTE_MS), math.floor(receivedAt / HOUR_MS)
-- A last seen after this was written before the clock was set back.
local latestSeen = math.max(receivedAt, clockMs()) + CLOCK_AHEAD_MS

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

-- Devices -------------------------------------------------------------------------------------------------------

-- Of the whole batch. `aside` alternates ids and values; `chunks` has what writeDevices() writes.
local aside, newEvents, changed, chunks, total = {}, {}, {}, {}, 0

-- The current chunk: its devices, by index, and what is stored of them. Variables of the script, as are the
-- fields of the current record: lookups in tables would add a tenth to the time of a batch.
local ids, packets, timestamps, newest, oldCounts, oldRecords
-- Stands for the names of the record's fields; see withPrelude() in scripts.ts.
local RECORD_FIELDS
-- What the devices become: by index, for readers, and for HSET as alternating ids and values.
local becomeCounts, becomeRecords, newCounts, newRecords, newPayloads, newAside
-- Ids of devices whose payload is no longer long; of those whose minute is over, and its packets.
local shortened, endedIds, ended

-- Adds the packets of the chunk's `n` devices to their counts. A value that is no count, or to which they cannot be
-- added, is set aside and the count begins again: the packets of all devices must not wait for an operator to
-- correct it.
local function addToCounts(n)
  local ids, packets, oldCounts, becomeCounts, newCounts = ids, packets, oldCounts, becomeCounts, newCounts
  for i = 1, n do
    local id, value = ids[i], oldCounts[i] or '0'
    local count = value ~= '' and not find(value, '%D') and tonumber(value)
    if not count or count + packets[i] > MAX_COUNT then
      newAside[#newAside + 1], newAside[#newAside + 2] = id, value
      if #aside < 2 * ASIDE_REPORTED then aside[#aside + 1], aside[#aside + 2] = id, value end
      count = 0
    end
    count = count + packets[i]
    becomeCounts[i] = count
    newCounts[2 * i - 1] = id
    newCounts[2 * i] = count
  end
end

-- Sets the record's timestamp; returns the payload that follows the record. `old`: the record it replaces.
local function mergePayload(i, old)
  local timestamp, payload = timestamps[i], newest[i]
  local long = #payload > SHORT_PAYLOAD_BYTES and 1 or 0
  -- A timestamp far ahead of its arrival is wrong: it must not hide later ones.
  if timestampMs > timestamp and timestampMs <= math.max(receivedAt, lastSeenMs) + DEVICE_CLOCK_AHEAD_MS then
    -- A long one stays in its hash.
    return longPayload == 0 and string.sub(old, RECORD_BYTES + 1) or ''
  end
  if longPayload > long then shortened[#shortened + 1] = ids[i] end
  timestampMs, longPayload = timestamp, long
  if long == 0 then return payload end
  newPayloads[#newPayloads + 1], newPayloads[#newPayloads + 2] = ids[i], payload
  return ''
end

-- Moves the record's last seen up to this batch: brings the device back online, and closes its minute and hour.
local function markSeen(id)
  if online == 0 then
    local last = math.min(lastSeenMs, receivedAt)
    newEvents[#newEvents + 1] = string.format('online %.0f %.0f ', receivedAt, last) .. id
    online = 1
  end
  local minutes = minute - floor(lastSeenMs / MINUTE_MS)
  if minutes > 0 then
    local hours = hour - floor(lastSeenMs / HOUR_MS)
    endedIds[#endedIds + 1] = id
    ended[#ended + 1] = { minutes = minutes, minutePackets = minutePackets, hours = hours, hourPackets = hourPackets }
    minutePackets = 0
    if hours > 0 then hourPackets = 0 end
  end
  lastSeenMs = receivedAt
end

-- The new records of the chunk's `n` devices, and the payloads that follow them.
local function addToRecords(n)
  local ids, packets, oldRecords, becomeRecords, newRecords = ids, packets, oldRecords, becomeRecords, newRecords
  for i = 1, n do
    local old = oldRecords[i]
    if not old then
      firstSeenMs, lastSeenMs, timestampMs = receivedAt, receivedAt, timestamps[i]
      minutePackets, hourPackets, online, longPayload = 0, 0, 1, 0
    elseif #old >= RECORD_BYTES then
      RECORD_FIELDS = unpackOne(RECORD, old)
    else
      error(records .. ' holds a record Tally did not write, of device ' .. ids[i])
    end
    local payload = mergePayload(i, old)
    if lastSeenMs < receivedAt or lastSeenMs > latestSeen then markSeen(ids[i]) end
    minutePackets, hourPackets = minutePackets + packets[i], hourPackets + packets[i]
    local record = pack(RECORD, RECORD_FIELDS)
    becomeRecords[i] = record
    newRecords[2 * i - 1] = ids[i]
    newRecords[2 * i] = record .. payload
    total = total + packets[i]
  end
end

-- Limits of devices: how many more may be added, which were refused, and the minute of those that were added.
local limits = { room = 0, added = 0, refused = {}, reached = '', minute = 0, before = 0 }

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

-- Takes the devices of the chunk that are new and find no room out of it; returns how many are left of its `n`.
local function refuseDevices(n, done)
  local left = 0
  for i = 1, n do
    local isNew = not oldCounts[i]
    if isNew and limits.added >= limits.room then
      limits.refused[#limits.refused + 1] = done + i - 1
    else
      if isNew then limits.added = limits.added + 1 end
      left = left + 1
      if left < i then
        ids[left], packets[left], timestamps[left], newest[left] = ids[i], packets[i], timestamps[i], newest[i]
        oldCounts[left] = oldCounts[i]
      end
    end
  end
  return left
end

local function packIds(n)
  local packed = {}
  for i = 1, n do packed[i] = string.char(#ids[i]) .. ids[i] end
  return table.concat(packed)
end

-- `n` big-endian values from `position` on, and the end position. One call for many values is what makes it fast.
local function unpackMany(format, n, packed, position)
  local values = { struct.unpack('>' .. string.rep(format, n), packed, position) }
  return values, table.remove(values)
end

-- What the devices become. Counts are computed here instead of by HINCRBY, which is one command per
-- device and may fail in the middle of the batch.
local function addDevices()
  local idAt, payloadAt = 1, 1
  for done = 0, devices - 1, CHUNK do
    local n, idsFrom = math.min(CHUNK, devices - done), idAt
    ids, idAt = unpackMany('Bc0', n, packedIds, idAt)
    newest, payloadAt = unpackMany('I4c0', n, packedPayloads, payloadAt)
    packets = unpackMany('d', n, packedPackets, 8 * done + 1)
    timestamps = unpackMany('d', n, packedTimestamps, 8 * done + 1)
    oldCounts = redis.call('HMGET', counts, unpack(ids))
    local left = refuseDevices(n, done)
    if left > 0 then
      oldRecords = redis.call('HMGET', records, unpack(ids, 1, left))
      becomeCounts, becomeRecords, newCounts, newRecords, newPayloads, newAside = {}, {}, {}, {}, {}, {}
      shortened, endedIds, ended = {}, {}, {}
      addToCounts(left)
      addToRecords(left)
      chunks[#chunks + 1] = { newCounts, newRecords, newPayloads, shortened, closeHistories(histories, endedIds, ended), newAside }
      local leftIds = left == n and string.sub(packedIds, idsFrom, idAt - 1) or packIds(left)
      changed[#changed + 1] = fullPart(left, leftIds, becomeCounts, becomeRecords)
    end
  end
end

local function writeDevices()
  for i = 1, #chunks do
    local newCounts, newRecords, newPayloads, shortened, newHistories, newAside = unpack(chunks[i])
    if #newAside > 0 then redis.call('HSET', setAside, unpack(newAside)) end
    redis.call('HSET', counts, unpack(newCounts))
    redis.call('HSET', records, unpack(newRecords))
    if #newPayloads > 0 then redis.call('HSET', payloads, unpack(newPayloads)) end
    if #shortened > 0 then redis.call('HDEL', payloads, unpack(shortened)) end
    if #newHistories > 0 then redis.call('HSET', histories, unpack(newHistories)) end
  end
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
  return { {}, {}, reachedBefore, refused }
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
  return { found.fenced, {}, '', {} }
end

-- 3. All that is read.
redis.call('HLEN', payloads) -- fails if it is no hash
redis.call('HLEN', setAside)
local versions = readVersion(version, changes)
if devices > 0 then readLimits() end
addDevices()
local refused, reached = limits.refused, #limits.refused > 0 and limits.reached or ''
-- The producer's last batch is missing: the store was reverted, also if no session shows it.
local lineage = not intact and readLineage(lineageKey, version)
local lastEvent = #newEvents > 0 and readLastEvent(events, readLineage(lineageKey, version))
local fleet = addToFleet()

-- 4. All that is written: none of it can be refused.
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
  if versions.last == 0 and not redis.call('GET', lineageKey) then writeLineage(lineageKey, clockMs(), 0) end
  addChanges(version, changes, versions, table.concat(changed))
  writeFleet(fleet)
end
if lastEvent then addEvents(events, lastEvent, newEvents) end
return { {}, aside, reached, refused }
