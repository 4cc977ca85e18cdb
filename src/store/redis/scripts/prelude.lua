-- Prelude of the scripts: the record of a device, the lists that readers follow, and the state of the data as a
-- whole. scripts.ts puts the constants in capitals before it, and the names of the record's fields in
-- place of RECORD_FIELDS.
--
-- The read…() and check…() functions are for the part of a script that reads and checks; the add…() and write…()
-- functions are for the part that writes: they must not fail.

-- Unix time in microseconds.
local function clockMicros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function clockMs()
  return math.floor(clockMicros() / 1000)
end

-- Fails if this user may not run one of the commands that write, or if the server accepts no writes, before a
-- script has written anything: Redis does not undo what a failed script wrote. `nothing` is a key that does
-- not exist before or after. The order counts: SET is refused when memory is short, and Redis checks memory
-- at the first write of a script only; commands that have no form without effect come last, when it can be undone.
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

-- The version of the newest entry in the list of changes (0: there is none), that of the next entry, and
-- the bytes that the list holds. A version is the time in microseconds, or one more than the last: a store
-- that was emptied, or reverted to an earlier state, never uses one twice.
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

-- When the data began, and when it was last found reverted to an earlier state, Unix ms; 0: unknown, and never.
-- Nil if there is no data yet.
local function readLineage(key, version)
  local value = redis.call('GET', key)
  if value then
    local began, reverted = string.match(value, '^(%d+) (%d+)$')
    if not began then
      error(key .. ' holds a value Tally did not write: ' .. value)
    end
    return { began = tonumber(began), reverted = tonumber(reverted) }
  end
  -- It was evicted alone.
  return redis.call('GET', version) and { began = 0, reverted = 0 } or nil
end

local function writeLineage(key, began, reverted)
  redis.call('SET', key, string.format('%.0f %.0f', began, reverted))
end

-- Part of an entry in the list of changes: devices with their counts and records, so that readers need not look
-- them up, which takes longer than to send this. `packedIds`: each preceded by its length in one byte.
local function fullPart(n, packedIds, counts, records)
  local packedCounts = struct.pack('>' .. string.rep('d', n), unpack(counts))
  return struct.pack(CHANGES_HEAD, n, CHANGES_FULL) .. packedIds .. packedCounts .. table.concat(records)
end

-- Part of an entry: devices that readers look up.
local function invalidationPart(ids)
  local packed = {}
  for i = 1, #ids do packed[i] = string.char(#ids[i]) .. ids[i] end
  return struct.pack(CHANGES_HEAD, #ids, CHANGES_INVALIDATION) .. table.concat(packed)
end

-- Memory that an entry takes beside its bytes.
local ENTRY_BYTES = 32

-- Adds an entry: `parts` are the devices that change with the next version.
local function addChanges(key, changes, version, parts)
  local entry = struct.pack(VERSION_HEAD, 0, CHANGES_VERSION, version.next) .. parts
  local bytes = version.bytes + #entry + ENTRY_BYTES
  -- Before the first change, for readers that have version 0.
  if version.last == 0 and redis.call('LLEN', changes) == 0 then
    local first = struct.pack(VERSION_HEAD, 0, CHANGES_VERSION, 0)
    redis.call('RPUSH', changes, first)
    bytes = bytes + #first + ENTRY_BYTES
  end
  redis.call('RPUSH', changes, entry)
  while bytes > CHANGES_MAX_BYTES do
    local oldest = redis.call('LPOP', changes)
    bytes = oldest and bytes - #oldest - ENTRY_BYTES or 0
  end
  redis.call('SET', key, string.format('%.0f %.0f', version.next, bytes))
end

-- The id of the newest event, or the one before the first: the ids of a store that was emptied continue above
-- every id it used before.
local function readLastEvent(events, lineage)
  local newest = redis.call('LINDEX', events, -1)
  if not newest then return lineage and lineage.began or clockMs() end
  local id = string.match(newest, '^%d+')
  if not id then
    error(events .. ' holds an event Tally did not write: ' .. newest)
  end
  return tonumber(id)
end

-- `list`: events without their ids, '<kind> <at> <last seen> <device>'.
local function addEvents(events, lastEvent, list)
  for i = 1, #list do
    redis.call('RPUSH', events, string.format('%.0f ', lastEvent + i) .. list[i])
  end
  redis.call('LTRIM', events, -EVENTS_KEPT, -1)
end
