-- In front of the scripts that change devices or read payloads: the two lists that readers follow, and the
-- record of a device. scripts.ts puts the constants in capitals in front of this.
--
-- The read…() functions are for the part of a script that reads and checks; the add…() functions are for
-- the part that writes, and find nothing to refuse any more.

-- A database that was emptied begins here again: above every number it gave before.
local function clockMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The version of the newest entry in the list of changes, and the bytes that the list holds.
local function readVersion(key, changes)
  redis.call('LLEN', changes) -- fails if it is no list
  local value = redis.call('GET', key)
  if not value then return clockMs(), 0 end
  local version, bytes = string.match(value, '^(%d+) (%d+)$')
  if not version then
    error(key .. ' holds a value Tally did not write: ' .. value)
  end
  return tonumber(version), tonumber(bytes)
end

-- An entry of that list has parts of at most 1,000 devices: how many; 1 if it tells what they became; their
-- ids, each behind its length in one byte; and, if it tells that, their counts as doubles, and their RECORDs.
-- Readers need not ask for these devices, which takes longer than to send them this.
local CHANGES_HEAD = '>I2B'

local function changesTold(n, packedIds, counts, records)
  local packedCounts = struct.pack('>' .. string.rep('d', n), unpack(counts))
  return struct.pack(CHANGES_HEAD, n, 1) .. packedIds .. packedCounts .. table.concat(records)
end

-- Of devices that readers have to ask for.
local function changesToAsk(ids)
  local packed = {}
  for i = 1, #ids do packed[i] = string.char(#ids[i]) .. ids[i] end
  return struct.pack(CHANGES_HEAD, #ids, 0) .. table.concat(packed)
end

-- What an entry takes in memory beside that.
local ENTRY_BYTES = 32

-- `entry`: the devices that change from `version` to the next.
local function addChanges(key, changes, version, bytes, entry)
  redis.call('RPUSH', changes, entry)
  bytes = bytes + #entry + ENTRY_BYTES
  while bytes > CHANGES_MAX_BYTES do
    local oldest = redis.call('LPOP', changes)
    bytes = oldest and bytes - #oldest - ENTRY_BYTES or 0
  end
  redis.call('SET', key, string.format('%.0f %.0f', version + 1, bytes))
end

-- The id of the newest event, or the one before the first.
local function readLastEvent(events)
  local newest = redis.call('LINDEX', events, -1)
  if not newest then return clockMs() end
  local id = string.match(newest, '^%d+')
  if not id then
    error(events .. ' holds an event Tally did not write: ' .. newest)
  end
  return tonumber(id)
end

-- `list`: of what follows an id, '<kind> <at> <last seen> <device>'.
local function addEvents(events, lastEvent, list)
  for i = 1, #list do
    redis.call('RPUSH', events, string.format('%.0f ', lastEvent + i) .. list[i])
  end
  redis.call('LTRIM', events, -EVENTS_KEPT, -1)
end

-- Big-endian: first seen, last seen, timestamp, packets in the minute and in the hour of last seen; 1 if online;
-- 1 if the payload is long. A short payload stands behind the record: a hash less to look into, which is what
-- costs most with many devices. A long one is in the hash of payloads, so that whoever reads records, a
-- thousand at a time, does not read those.
local RECORD, RECORD_BYTES = '>dddddBB', 42
local RECORD_AND_PAYLOAD, SHORT_PAYLOAD_BYTES = RECORD .. 'c0', 64
