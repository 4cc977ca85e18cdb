-- Writes the values of devices to which the oldest samples were added. Preceded by prelude.lua and samples.lua.
--
-- KEYS  1 samples   2 their state   3 feed   4 values   5 minutes   6 hours   7 a key that does not exist
-- ARGV  1 serial at which the samples and values were read   2 elements of the list that are folded   3 their bytes
--       4 ids of the devices that changed   5 how many of them have no values any more   6 their ids
--       7 how many have values   8 ids and values   9, 10 the same of minutes   11, 12 of hours
--       ids are preceded by their length in one byte, values by theirs in 32 bits
--
-- Returns the serial from now on, or '' if samples were folded or dropped, or devices removed, since they were read: then
-- nothing was done.

local waiting, stateKey, feed, values, minutes, hours, nothing = unpack(KEYS)
local state = readSamples(waiting, stateKey, feed)
if string.format('%.0f', state.serial) ~= ARGV[1] then return '' end
local hashes = { values, minutes, hours }
for i = 1, #hashes do redis.call('HLEN', hashes[i]) end -- fails if it is no hash
checkWritable(nothing)

-- Two values each stay well below the 8,000 that unpack() can return.
local CHUNK = 1000

-- Calls `visit` with what is packed, so many at once.
local function inChunks(n, format, packed, visit)
  local at = 1
  for from = 1, n, CHUNK do
    local some = { struct.unpack('>' .. string.rep(format, math.min(CHUNK, n - from + 1)), packed, at) }
    at = table.remove(some)
    visit(some)
  end
end

inChunks(tonumber(ARGV[5]), 'Bc0', ARGV[6], function(ids)
  for i = 1, #hashes do redis.call('HDEL', hashes[i], unpack(ids)) end
end)
for i = 1, #hashes do
  inChunks(tonumber(ARGV[5 + 2 * i]), 'Bc0I4c0', ARGV[6 + 2 * i], function(pairs)
    redis.call('HSET', hashes[i], unpack(pairs))
  end)
end
redis.call('LTRIM', waiting, ARGV[2], -1)
state.bytes = math.max(0, state.bytes - tonumber(ARGV[3]))
if ARGV[4] ~= '' then feedValues(state, ARGV[4]) else nextSerial(state) end
writeSamples(state)
return string.format('%.0f', state.serial)
