-- Reads whose values changed. Preceded by prelude.lua and samples.lua.
--
-- KEYS  1 samples   2 their state   3 feed
-- ARGV  1 serial that the reader has; nothing: it wants the serial only
--
-- Returns the serial of the newest entry, how many bytes of samples wait, how many were dropped, and the ids of each newer
-- entry. Without those, the feed does not continue from the reader's serial.

local feed, MAX_ENTRIES = KEYS[3], 1000
local state = readSamples(unpack(KEYS))
local serial = string.format('%.0f', state.fed)
local reply = { serial, string.format('%.0f', state.bytes), string.format('%.0f', state.dropped) }
if not ARGV[1] then return reply end
local ids, since, back = {}, tonumber(ARGV[1]), 1
while state.fed ~= since do
  local found = redis.call('LINDEX', feed, -FEED_ENTRY * back)
  if found and tonumber(found) == since then break end
  -- The reader is so late that it reads all anew, or has what was lost since.
  if not found or tonumber(found) < since or back > MAX_ENTRIES then return reply end
  ids[back] = redis.call('LINDEX', feed, 1 - FEED_ENTRY * back)
  back = back + 1
end
reply[4] = ids
return reply
