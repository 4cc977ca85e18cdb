-- Writes the values of devices to which the oldest samples were added. Preceded by prelude.lua and samples.lua.
--
-- KEYS  1 samples   2 their state   3 feed   4 values   5 minutes   6 hours   7 a key that does not exist
-- ARGV  1 serial at which the samples and values were read   2 elements of the list that are folded   3 their bytes
--       4 ids of the devices that changed, each preceded by its length in one byte
--       5 how many devices have no values any more   6 how many have values   7 minutes   8 hours
--       9… ids without values; ids and values; ids and minutes; ids and hours
--
-- Returns the serial from now on, or '' if samples were folded or dropped, or devices removed, since they were read: then nothing was done.

local waiting, stateKey, feed, values, minutes, hours, nothing = unpack(KEYS)
local state = readSamples(waiting, stateKey, feed)
if string.format('%.0f', state.serial) ~= ARGV[1] then return '' end
local hashes = { values, minutes, hours }
for i = 1, #hashes do redis.call('HLEN', hashes[i]) end -- fails if it is no hash
checkWritable(nothing)

-- Two values each stay well below the 8,000 that unpack() can return.
local CHUNK = 1000
local at = 9
local removed = tonumber(ARGV[5])
for from = at, at + removed - 1, CHUNK do
  local to = math.min(from + CHUNK, at + removed) - 1
  for i = 1, #hashes do redis.call('HDEL', hashes[i], unpack(ARGV, from, to)) end
end
at = at + removed
for i = 1, #hashes do
  local stop = at + 2 * tonumber(ARGV[5 + i])
  for from = at, stop - 1, 2 * CHUNK do
    redis.call('HSET', hashes[i], unpack(ARGV, from, math.min(from + 2 * CHUNK, stop) - 1))
  end
  at = stop
end
redis.call('LTRIM', waiting, ARGV[2], -1)
state.bytes = math.max(0, state.bytes - tonumber(ARGV[3]))
if ARGV[4] ~= '' then feedValues(state, ARGV[4]) else nextSerial(state) end
writeSamples(state)
return string.format('%.0f', state.serial)
