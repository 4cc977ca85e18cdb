-- Prelude of the scripts: the lists that readers follow, the record of a device, and the state of
-- the data as a whole. scripts.ts puts the constants in capitals before it.
--
-- The read…() and check…() functions are for the part of a script that reads and checks; the add…() functions
-- are for the part that writes: nothing in them can be refused any more.

-- Unix time in microseconds.
local function clockMicros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function clockMs()
  return math.floor(clockMicros() / 1000)
end

-- Fails if this user may not run one of the commands that write, or if the server takes no writes, before a
-- script has written anything: Redis does not undo what a failed script wrote. `nothing` is a key that does
-- not exist before or after. The order counts: SET is refused when memory is short, and Redis looks at memory
-- at the first command of a script only; what has no form without effect comes last, when it can be undone.
local function checkWritable(nothing)
  redis.call('SET', nothing, '', 'XX')
  redis.call('PEXPIRE', nothing, 1)
  redis.call('LTRIM', nothing, 0, 0)
  redis.call('LPOP', nothing)
  redis.call('HDEL', nothing, '')
  redis.call('RPUSH', nothing, '')
  redis.call('LPOP', nothing)
  redis.call('HSET', nothing, '', '')
  redis.call('HDEL', nothing, '')
end

-- The version of the newest entry in the list of changes (0: there is none), the one the next entry gets, and
-- the bytes that the list holds. A version is the time in microseconds, or one more than the last: a store
-- that was emptied, or put back to an earlier state, never uses one twice.
local function readVersion(key, changes)
  redis.call('LLEN', changes) -- fails if it is no list
  local value = redis.call('GET', key)
  local version, bytes = '0', '0'
  if value then
    version, bytes = string.match(value, '^(%d+) (%d+)$')
    if not version then
      error(key .. ' holds a value Tally did not write: ' .. value)
    end
  end
  return { last = tonumber(version), next = math.max(version + 1, clockMicros()), bytes = tonumber(bytes) }
end

-- When the data began, and when it was last found to have gone back to an earlier state, Unix ms; 0: unknown,
-- and never. Nil if there is no data yet.
local function readLineage(key, version)
  local value = redis.call('GET', key)
  if value then
    local began, reverted = string.match(value, '^(%d+) (%d+)$')
    if not began then
      error(key .. ' holds a value Tally did not write: ' .. value)
    end
    return { began = tonumber(began), reverted = tonumber(reverted) }
  end
  -- Versions of Tally before this one kept no such key.
  return redis.call('GET', version) and { began = 0, reverted = 0 } or nil
end

local function writeLineage(key, began, reverted)
  redis.call('SET', key, string.format('%.0f %.0f', began, reverted))
end

-- An entry of that list has parts of at most 1,000 devices: how many; 1 if it tells what they became; their
-- ids, each behind its length in one byte; and, if it tells that, their counts as doubles, and their RECORDs.
-- Readers need not ask for these devices, which takes longer than to send them this.
-- The first part has no devices, 2 instead of that flag, and the entry's version as a double.
local CHANGES_HEAD, VERSION_HEAD = '>I2B', '>I2Bd'

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

-- `parts`: the devices that change with the next version.
local function addChanges(key, changes, version, parts)
  local entry = struct.pack(VERSION_HEAD, 0, 2, version.next) .. parts
  redis.call('RPUSH', changes, entry)
  local bytes = version.bytes + #entry + ENTRY_BYTES
  while bytes > CHANGES_MAX_BYTES do
    local oldest = redis.call('LPOP', changes)
    bytes = oldest and bytes - #oldest - ENTRY_BYTES or 0
  end
  redis.call('SET', key, string.format('%.0f %.0f', version.next, bytes))
end

-- The id of the newest event, or the one before the first: a store that was emptied goes on above every id it
-- gave before.
local function readLastEvent(events, lineage)
  local newest = redis.call('LINDEX', events, -1)
  if not newest then return lineage and lineage.began or clockMs() end
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
