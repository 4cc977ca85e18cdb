-- Brings the data to this program's layout, step by step, all of them or none. Preceded by prelude.lua, but not by
-- the check of the layout. It blocks Redis meanwhile: 200,000 devices of layout 1 take about three seconds.
--
-- KEYS  1 layout   2 counts   3 records   4 payloads   5 version   6 changes   7 lineage   8 a key that does not exist
--       9 records of layout 1
--
-- Returns the layout that was found. A newer one than LAYOUT_VERSION stays as it is.

local layout, counts, records, payloads, version, changes, lineage, nothing, devices = unpack(KEYS)

-- Only commands that every Tally has needed: a user that may not run another one can still upgrade.
local CHUNK = 500

-- Calls `visit` with each field and value of a hash, and writes what it adds to `hset` and `hdel`: by name of the
-- key, alternating fields and values, and fields.
local function rewrite(key, visit)
  local found = redis.call('HGETALL', key)
  for from = 1, #found, 2 * CHUNK do
    local hset, hdel = {}, {}
    for i = from, math.min(from + 2 * CHUNK, #found + 1) - 1, 2 do visit(found[i], found[i + 1], hset, hdel) end
    for name, list in pairs(hset) do redis.call('HSET', name, unpack(list)) end
    for name, list in pairs(hdel) do redis.call('HDEL', name, unpack(list)) end
  end
end

local function add(lists, key, ...)
  local list = lists[key] or {}
  lists[key] = list
  for _, value in ipairs({ ... }) do list[#list + 1] = value end
end

-- Readers of the version have to scan: what the list held is no longer readable.
local function dropChanges()
  redis.call('LTRIM', changes, 1, 0)
  local found = redis.call('GET', version)
  if found then redis.call('SET', version, string.match(found, '^%d+') .. ' 0') end
end

local steps = {
  -- 1 to 2. A hash of `<first seen> <last seen> <timestamp> <payload>` becomes records, and a hash of all payloads.
  function()
    rewrite(devices, function(id, value, hset, hdel)
      local first, last, timestamp, payload = string.match(value, '^(%d+) (%d+) (%-?%d+) (.*)$')
      add(hset, records, id, struct.pack('>dddddB', first, last, timestamp, 0, 0, 1))
      add(hset, payloads, id, payload)
      add(hdel, devices, id)
    end)
  end,
  -- 2 to 3. A record also states where its payload is, and a short one follows it. Entries have a head.
  function()
    rewrite(records, function(id, value, hset, hdel)
      if #value ~= 41 then return end
      local payload = redis.call('HGET', payloads, id) or ''
      local long = #payload > 64
      add(hset, records, id, value .. string.char(long and 1 or 0) .. (long and '' or payload))
      if not long then add(hdel, payloads, id) end
    end)
    dropChanges()
  end,
  -- 3 to 4. Entries begin with their version. The age of the data is not known.
  function()
    dropChanges()
    if redis.call('GET', version) and not redis.call('GET', lineage) then writeLineage(lineage, 0, 0) end
  end,
  -- 4 to 5. From now on there may be segment logs, which older programs do not merge.
  function() end,
}

-- Layouts before the fourth had no number: they are known by what is there.
local function findLayout()
  local value = redis.call('GET', layout)
  if value then
    return tonumber(value) or error(layout .. ' holds a value Tally did not write: ' .. value)
  end
  if redis.call('HLEN', devices) > 0 then return 1 end
  local _, record = unpack(redis.call('HSCAN', records, 0, 'COUNT', 1)[2])
  if record and #record == 41 then return 2 end
  local oldest = redis.call('LINDEX', changes, 0)
  if oldest and string.byte(oldest, 3) ~= CHANGES_VERSION then return 3 end
  return redis.call('GET', version) and not redis.call('GET', lineage) and 3 or LAYOUT_VERSION
end

local found = findLayout()
if found > LAYOUT_VERSION then return found end
checkWritable(nothing)
for step = found, LAYOUT_VERSION - 1 do steps[step]() end
redis.call('SET', layout, LAYOUT_VERSION)
return found
