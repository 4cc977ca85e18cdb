-- What apply.lua and merge.lua add to devices. Preceded by prelude.lua and histories.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes   7 events   8 lineage
--       9 counts set aside   10 a key that does not exist   11… of the script
-- ARGV  1 when the packets were received, Unix ms
--       2 the devices' ids, each preceded by its length in one byte
--       3 packets of each, 4 newest timestamp of each: as doubles
--       5 its payload, preceded by its length in 32 bits
--       6… of the script

local counts, records, payloads, histories, version, changes, events, lineageKey, setAside, nothing = unpack(KEYS, 1, 10)
local receivedAt = tonumber(ARGV[1])
local packedIds, packedPackets, packedTimestamps, packedPayloads = unpack(ARGV, 2, 5)
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

-- Of the whole batch. `aside` alternates ids and values; `chunks` has what writeDevices() writes.
local aside, newEvents, changed, chunks, total = {}, {}, {}, {}, 0

-- The current chunk: its devices, by index, and what is stored of them. Variables of the script, as are the
-- fields of the current record: lookups in tables would add a tenth to the time of a batch.
local ids, packets, timestamps, newest, seen, oldCounts, oldRecords
-- When each was received, Unix ms, as doubles; nil: all were at `receivedAt`.
local packedSeen
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

-- Sets the record's timestamp; returns the payload that follows the record. `old`: the record it replaces; `at`: when
-- the new one was received.
local function mergePayload(i, old, at)
  local timestamp, payload = timestamps[i], newest[i]
  local long = #payload > SHORT_PAYLOAD_BYTES and 1 or 0
  -- A timestamp far ahead of its arrival is wrong: it must not hide later ones.
  if timestampMs > timestamp and timestampMs <= math.max(at, lastSeenMs) + DEVICE_CLOCK_AHEAD_MS then
    -- A long one stays in its hash.
    return longPayload == 0 and string.sub(old, RECORD_BYTES + 1) or ''
  end
  if longPayload > long then shortened[#shortened + 1] = ids[i] end
  timestampMs, longPayload = timestamp, long
  if long == 0 then return payload end
  newPayloads[#newPayloads + 1], newPayloads[#newPayloads + 2] = ids[i], payload
  return ''
end

-- Moves the record's last seen up to `at`: brings the device back online, and closes its minute and hour.
local function markSeen(id, at)
  if online == 0 then
    local last = math.min(lastSeenMs, at)
    newEvents[#newEvents + 1] = string.format('online %.0f %.0f ', at, last) .. id
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
  lastSeenMs = at
end

-- The new records of the chunk's `n` devices, and the payloads that follow them.
local function addToRecords(n)
  local ids, packets, oldRecords, becomeRecords, newRecords = ids, packets, oldRecords, becomeRecords, newRecords
  for i = 1, n do
    local old, at = oldRecords[i], seen and seen[i] or receivedAt
    if not old then
      firstSeenMs, lastSeenMs, timestampMs = at, at, timestamps[i]
      minutePackets, hourPackets, online, longPayload = 0, 0, 1, 0
    elseif #old >= RECORD_BYTES then
      RECORD_FIELDS = unpackOne(RECORD, old)
    else
      error(records .. ' holds a record Tally did not write, of device ' .. ids[i])
    end
    local payload = mergePayload(i, old, at)
    if lastSeenMs < at or lastSeenMs > latestSeen then markSeen(ids[i], at) end
    minutePackets, hourPackets = minutePackets + packets[i], hourPackets + packets[i]
    local record = pack(RECORD, RECORD_FIELDS)
    becomeRecords[i] = record
    newRecords[2 * i - 1] = ids[i]
    newRecords[2 * i] = record .. payload
    total = total + packets[i]
  end
end

-- Takes those of the chunk's `n` devices out of it that have no count and for which `takes` returns true, given the
-- index in the batch and in the chunk. Returns how many are left.
local function withoutNew(n, done, takes)
  local left = 0
  for i = 1, n do
    if oldCounts[i] or not takes(done + i - 1, i) then
      left = left + 1
      if left < i then
        ids[left], packets[left], timestamps[left], newest[left] = ids[i], packets[i], timestamps[i], newest[i]
        oldCounts[left] = oldCounts[i]
        if seen then seen[left] = seen[i] end
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
-- device and may fail in the middle of the batch. `takesNew`: see withoutNew().
local function addDevices(takesNew)
  local idAt, payloadAt = 1, 1
  for done = 0, devices - 1, CHUNK do
    local n, idsFrom = math.min(CHUNK, devices - done), idAt
    ids, idAt = unpackMany('Bc0', n, packedIds, idAt)
    newest, payloadAt = unpackMany('I4c0', n, packedPayloads, payloadAt)
    packets = unpackMany('d', n, packedPackets, 8 * done + 1)
    timestamps = unpackMany('d', n, packedTimestamps, 8 * done + 1)
    seen = packedSeen and unpackMany('d', n, packedSeen, 8 * done + 1)
    oldCounts = redis.call('HMGET', counts, unpack(ids))
    local left = withoutNew(n, done, takesNew)
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

-- A hash of up to 512 short fields is a list to Redis, in which each field is searched from the beginning: an update of
-- one of 500 devices takes three times as long. A long field makes it a table, also when it is gone again; only a
-- server that loads its data makes it a list. No device has an id of this length.
local LONG_FIELD = string.rep('-', 129)

local function makeTables()
  for _, key in ipairs({ counts, records }) do
    redis.call('HSET', key, LONG_FIELD, '')
    redis.call('HDEL', key, LONG_FIELD)
  end
end
