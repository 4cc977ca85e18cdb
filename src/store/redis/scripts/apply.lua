-- Applies one batch, all of it or nothing, once. Preceded by prelude.lua.
--
-- KEYS  1 counts   2 records   3 payloads   4 histories   5 version   6 changes   7 events   8 lineage
--       9 counts set aside   10 a key that does not exist   11 packets per second   12 per minute   13 per hour
--       14 producer   15… one per session
-- ARGV  1 sequence of the batch
--       2 sequence of the producer's batch applied before it; 0: there is none, or it may have expired
--       3 when its packets were received, Unix ms
--       4 expiry of the producer, ms
--       5 expiry of a session, ms
--       6 the devices' ids, each preceded by its length in one byte
--       7 packets of each, 8 newest timestamp of each: as doubles
--       9 its payload, preceded by its length in 32 bits
--       10… two per session: the value it must have, the value it gets
--
-- Returns two lists. The first has three numbers for each session that does not have the value it must have:
-- its zero-based index; 1 if the store went back, or forgot the session, and 0 if a newer stream has it; and how
-- many of its packets are settled. Empty: the batch is applied, now or before. The second has the ids and values
-- of counts that were set aside, at most ASIDE_REPORTED of each.
--
-- Everything is read and checked first and written last, because Redis does not undo what a failed
-- script wrote. Each key is read, or its type looked at, before anything is written.

local counts, records, payloads, histories, version, changes, events, lineageKey, setAside, nothing = unpack(KEYS, 1, 10)
local FIRST_FLEET, producer, FIRST_SESSION, FIRST_VALUE = 11, KEYS[14], 15, 10
local sequence, previous, receivedAt, producerExpiryMs, sessionExpiryMs =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local packedIds, packedPackets, packedTimestamps, packedPayloads = unpack(ARGV, 6, 9)
local devices = #packedPackets / 8

-- Devices or keys per command: two values each stay well below the 8,000 that unpack() can return.
local CHUNK = 1000

-- Counts are integers below 2^53, exact as doubles. They are handed to Redis as numbers, which it writes in
-- plain decimal; tostring() would give those from 1e14 on an exponent, and string.format() takes longer.
local MAX_COUNT = 2 ^ 53 - 1

-- What another program wrote as a count, if packets can be added to it; nil if not.
local function readCount(value, packets)
  if value == '' or string.find(value, '%D') then return nil end
  local count = tonumber(value)
  return count + packets <= MAX_COUNT and count or nil
end

-- `n` big-endian values from `position` on, and the position behind them. One call for many values is what
-- makes it quick.
local function unpackMany(format, n, packed, position)
  local values = { struct.unpack('>' .. string.rep(format, n), packed, position) }
  return values, table.remove(values)
end

-- A history: how many minutes, the bytes they take, how many hours; then the packets of each as a varint,
-- oldest first. They are the periods that are over; the minute and the hour going on are in the record,
-- so that a history is written once a minute and not with every batch.
local HISTORY_HEAD, HISTORY_HEAD_BYTES = '>BHB', 4
local MINUTE_MS, HOUR_MS = 60000, 3600000

local function varint(value)
  local bytes = ''
  while value >= 128 do
    bytes = bytes .. string.char(128 + value % 128)
    value = math.floor(value / 128)
  end
  return bytes .. string.char(value)
end

-- Adds the period that ended and the empty ones after it, `gap` in all; keeps the newest `max`.
local function close(periods, n, packets, gap, max)
  if gap > max then return '', 0 end
  periods, n = periods .. varint(packets) .. string.rep('\0', gap - 1), n + gap
  local from = 1
  for _ = max + 1, n do
    while string.byte(periods, from) >= 128 do from = from + 1 end
    from = from + 1
  end
  return string.sub(periods, from), math.min(n, max)
end

local function closePeriods(history, ended)
  local minutes, minuteCount, hours, hourCount = '', 0, '', 0
  if history then
    local minuteBytes
    minuteCount, minuteBytes, hourCount = struct.unpack(HISTORY_HEAD, history)
    minutes = string.sub(history, HISTORY_HEAD_BYTES + 1, HISTORY_HEAD_BYTES + minuteBytes)
    hours = string.sub(history, HISTORY_HEAD_BYTES + minuteBytes + 1)
  end
  -- One less than is shown: the one going on is the last.
  minutes, minuteCount = close(minutes, minuteCount, ended.minutePackets, ended.minutes, HISTORY_MINUTES - 1)
  if ended.hours > 0 then
    hours, hourCount = close(hours, hourCount, ended.hourPackets, ended.hours, HISTORY_HOURS - 1)
  end
  return struct.pack(HISTORY_HEAD, minuteCount, #minutes, hourCount) .. minutes .. hours
end

-- 1. Applied before? Even then something is written, so that a WAIT or WAITAOF that follows covers the
-- batch: they are only promised to cover what their own connection wrote, and the batch may have come over
-- another one.
local applied = tonumber(redis.call('GET', producer) or 0)
if tonumber(sequence) <= applied then
  redis.call('PEXPIRE', producer, producerExpiryMs)
  return { {}, {} }
end

-- 2. Does every stream still own its session, and is the session where the stream left it? A session that is
-- missing, has a lower epoch, or the stream's own epoch and another offset, was put back with all the data; only
-- one that is missing may have been evicted, or have expired, alone: then this producer's last batch is still there,
-- and so are the packets. It is written again, for its next claim; not gone on with, for it may have been a newer
-- stream's.
local fenced, forgotten, reverted = {}, {}, false
local intact = previous == 0 or applied == previous
local function fence(index, value)
  local epoch, from = string.match(ARGV[FIRST_VALUE + 2 * index], '^(%d+) (%d+)$')
  local foundEpoch, committed = string.match(value or '', '^(%d+) (%d+)$')
  local superseded = foundEpoch and tonumber(foundEpoch) > tonumber(epoch)
  if not foundEpoch then committed = intact and from or 0 end
  if not foundEpoch and intact and previous > 0 then forgotten[#forgotten + 1] = index end
  reverted = reverted or not superseded and (foundEpoch or not intact)
  fenced[#fenced + 1] = index
  fenced[#fenced + 1] = superseded and 0 or 1
  fenced[#fenced + 1] = tonumber(committed)
end
for from = FIRST_SESSION, #KEYS, CHUNK do
  local to = math.min(from + CHUNK - 1, #KEYS)
  local values = redis.call('MGET', unpack(KEYS, from, to))
  for i = 1, to - from + 1 do
    local index = from + i - 1 - FIRST_SESSION
    if values[i] ~= ARGV[FIRST_VALUE + 2 * index] then fence(index, values[i]) end
  end
end
if #fenced > 0 then
  local lineage = reverted and readLineage(lineageKey, version)
  if lineage then writeLineage(lineageKey, lineage.began, clockMs()) end
  for i = 1, #forgotten do
    local index = forgotten[i]
    redis.call('SET', KEYS[FIRST_SESSION + index], ARGV[FIRST_VALUE + 2 * index], 'PX', sessionExpiryMs)
  end
  return { fenced, {} }
end

-- 3. What the devices become. Counts are computed here instead of by HINCRBY, which is one command per
-- device and may fail in the middle of the batch.
redis.call('HLEN', payloads) -- fails if it is no hash
redis.call('HLEN', setAside)
local versions = readVersion(version, changes)
local latestSeen = math.max(receivedAt, clockMs()) + CLOCK_AHEAD_MS
local minute, hour = math.floor(receivedAt / MINUTE_MS), math.floor(receivedAt / HOUR_MS)
local writes, newEvents, changed, aside, total = {}, {}, {}, {}, 0
local idAt, payloadAt = 1, 1
for done = 0, devices - 1, CHUNK do
  local n = math.min(CHUNK, devices - done)
  local ids, newest, idsFrom = nil, nil, idAt
  ids, idAt = unpackMany('Bc0', n, packedIds, idAt)
  newest, payloadAt = unpackMany('I4c0', n, packedPayloads, payloadAt)
  local packets = unpackMany('d', n, packedPackets, 8 * done + 1)
  local timestamps = unpackMany('d', n, packedTimestamps, 8 * done + 1)
  local oldCounts = redis.call('HMGET', counts, unpack(ids))
  local oldRecords = redis.call('HMGET', records, unpack(ids))
  local becomeCounts, becomeRecords, newCounts, newRecords, newPayloads, shortened = {}, {}, {}, {}, {}, {}
  local endedIds, ended, newAside = {}, {}, {}
  for i = 1, n do
    local id = ids[i]
    local count = readCount(oldCounts[i] or '0', packets[i])
    if not count then
      -- The packets of this device, and of all others, must not wait for someone to mend a value: it is kept
      -- elsewhere, and the device's count begins again.
      newAside[#newAside + 1], newAside[#newAside + 2] = id, oldCounts[i]
      if #aside < 2 * ASIDE_REPORTED then aside[#aside + 1], aside[#aside + 2] = id, oldCounts[i] end
      count = 0
    end
    becomeCounts[i] = count + packets[i]
    newCounts[2 * i - 1] = id
    newCounts[2 * i] = becomeCounts[i]

    local first, last, timestamp, minutePackets, hourPackets, online = receivedAt, receivedAt, timestamps[i], 0, 0, 1
    local payload, long = newest[i], #newest[i] > SHORT_PAYLOAD_BYTES and 1 or 0
    local record = oldRecords[i]
    if record then
      if #record < RECORD_BYTES then
        return redis.error_reply('ERR ' .. records .. ' holds a record Tally did not write, of device ' .. id)
      end
      local oldLast, oldTimestamp, wasLong
      first, oldLast, oldTimestamp, minutePackets, hourPackets, online, wasLong = struct.unpack(RECORD, record)
      -- A timestamp far ahead of its arrival is wrong: it must not keep out what came since.
      if oldTimestamp > timestamp and oldTimestamp <= math.max(receivedAt, oldLast) + DEVICE_CLOCK_AHEAD_MS then
        timestamp, long = oldTimestamp, wasLong
        payload = long == 0 and string.sub(record, RECORD_BYTES + 1)
      elseif wasLong > long then
        shortened[#shortened + 1] = id
      end
      -- What lies ahead of the clock was written before that was set back.
      if oldLast >= receivedAt and oldLast <= latestSeen then
        last = oldLast
      else
        if online == 0 then
          newEvents[#newEvents + 1] = string.format('online %.0f %.0f ', receivedAt, math.min(oldLast, receivedAt)) .. id
          online = 1
        end
        local minutes = minute - math.floor(oldLast / MINUTE_MS)
        if minutes > 0 then
          local hours = hour - math.floor(oldLast / HOUR_MS)
          endedIds[#endedIds + 1] = id
          ended[#ended + 1] =
            { minutes = minutes, minutePackets = minutePackets, hours = hours, hourPackets = hourPackets }
          minutePackets = 0
          if hours > 0 then hourPackets = 0 end
        end
      end
    end
    if long == 1 then
      -- Nothing stands behind the record; an old payload that stays is where it was.
      if payload then
        newPayloads[#newPayloads + 1] = id
        newPayloads[#newPayloads + 1] = payload
      end
      payload = ''
    end
    minutePackets, hourPackets = minutePackets + packets[i], hourPackets + packets[i]
    becomeRecords[i] = struct.pack(RECORD, first, last, timestamp, minutePackets, hourPackets, online, long)
    newRecords[2 * i - 1] = id
    newRecords[2 * i] = becomeRecords[i] .. payload
    total = total + packets[i]
  end
  local newHistories = {}
  if #ended > 0 then
    local oldHistories = redis.call('HMGET', histories, unpack(endedIds))
    for i = 1, #ended do
      newHistories[2 * i - 1] = endedIds[i]
      newHistories[2 * i] = closePeriods(oldHistories[i], ended[i])
    end
  end
  writes[#writes + 1] = { newCounts, newRecords, newPayloads, shortened, newHistories, newAside }
  changed[#changed + 1] = changesTold(n, string.sub(packedIds, idsFrom, idAt - 1), becomeCounts, becomeRecords)
end

-- The producer's last batch is gone: the store went back, also if no session shows it.
local lineage = not intact and readLineage(lineageKey, version)
local lastEvent = #newEvents > 0 and readLastEvent(events, readLineage(lineageKey, version))

-- The fleet's periods: which field of which key, what it becomes, and how long it is kept: twice as long
-- as it is shown, for clocks that differ.
local fleet = {}
for i, period in ipairs({ { 1000, HISTORY_SECONDS }, { MINUTE_MS, HISTORY_MINUTES }, { HOUR_MS, HISTORY_HOURS } }) do
  local periodMs, shown = unpack(period)
  local key, field = KEYS[FIRST_FLEET + i - 1], math.floor(receivedAt / periodMs)
  local old = redis.call('HGET', key, field)
  if old and not tonumber(old) then
    return redis.error_reply('ERR ' .. key .. ' holds a count that is not a number: ' .. old)
  end
  fleet[i] = { key, field, tonumber(old or 0) + total, 2 * periodMs * shown }
end

-- 4. Nothing below can be refused.
checkWritable(nothing)
for i = 1, #writes do
  local newCounts, newRecords, newPayloads, shortened, newHistories, newAside = unpack(writes[i])
  if #newAside > 0 then redis.call('HSET', setAside, unpack(newAside)) end
  redis.call('HSET', counts, unpack(newCounts))
  redis.call('HSET', records, unpack(newRecords))
  if #newPayloads > 0 then redis.call('HSET', payloads, unpack(newPayloads)) end
  if #shortened > 0 then redis.call('HDEL', payloads, unpack(shortened)) end
  if #newHistories > 0 then redis.call('HSET', histories, unpack(newHistories)) end
end
for key = FIRST_SESSION, #KEYS do
  redis.call('SET', KEYS[key], ARGV[FIRST_VALUE + 1 + 2 * (key - FIRST_SESSION)], 'PX', sessionExpiryMs)
end
redis.call('SET', producer, sequence, 'PX', producerExpiryMs)
if lineage then writeLineage(lineageKey, lineage.began, clockMs()) end
if devices > 0 then
  if versions.last == 0 and not redis.call('GET', lineageKey) then writeLineage(lineageKey, clockMs(), 0) end
  addChanges(version, changes, versions, table.concat(changed))
  for i = 1, #fleet do
    local key, field, value, expiryMs = unpack(fleet[i])
    redis.call('HSET', key, field, value)
    redis.call('PEXPIRE', key, expiryMs)
  end
end
if lastEvent then addEvents(events, lastEvent, newEvents) end
return { {}, aside }
