-- Reads the list of changes after a version. Preceded by prelude.lua.
--
-- KEYS  1 version   2 changes
-- ARGV  1 version the reader has; nothing: it wants the version only
--
-- Returns { version, entries }. Without entries, the list does not continue from that version: it was trimmed since,
-- or the store was reverted and no longer holds the version.

local value, kept = redis.call('GET', KEYS[1]), redis.call('LLEN', KEYS[2])
local version = value and string.match(value, '^%d+') or '0'
if not ARGV[1] then return { version } end
if ARGV[1] == version then return { version, {} } end

-- Of the entry so many before the end.
local function versionAt(back)
  local _, _, found = struct.unpack(VERSION_HEAD, redis.call('LINDEX', KEYS[2], -back))
  return found
end

-- `newer` entries from the end are newer than the reader's version, the one at `back` is not.
local since, newer, back = tonumber(ARGV[1]), 0, 1
while back <= kept and versionAt(back) > since do newer, back = back, back * 2 end
back = math.min(back, kept + 1)
while back - newer > 1 do
  local middle = math.floor((newer + back) / 2)
  if versionAt(middle) > since then newer = middle else back = middle end
end
if newer == 0 or back > kept or versionAt(back) ~= since then return { version } end
return { version, redis.call('LRANGE', KEYS[2], -newer, -1) }
