-- In front of the scripts that change devices: the two lists that readers follow. redis.ts puts the
-- constants in capitals in front of this.
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

-- A device in an entry of that list: the bytes of its id and of its count, these two, and its RECORD, so that
-- readers need not ask for each device. This is one for which they must: it has no count and no RECORD.
local function changeToAsk(id)
  return string.char(#id, 0) .. id
end

-- What an entry takes beside its devices.
local ENTRY_BYTES = 32

-- `devices`: one entry, those that change from `version` to the next, one after the other.
local function addChanges(key, changes, version, bytes, devices)
  redis.call('RPUSH', changes, devices)
  bytes = bytes + #devices + ENTRY_BYTES
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

-- Big-endian: first seen, last seen, timestamp, packets in the minute and in the hour of last seen; 1 if online.
local RECORD, RECORD_BYTES = '>dddddB', 41
