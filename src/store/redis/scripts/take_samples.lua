-- Reads the oldest samples. Preceded by prelude.lua and samples.lua.
--
-- KEYS  1 samples   2 their state   3 feed   4 lease
-- ARGV  1 owner of the lease   2 its length, ms   3 bytes that are read at most, but for one entry
--
-- Returns the serial, and the elements of the entries. Nothing if another process folds, or nothing waits.

local waiting, stateKey, feed, lease = unpack(KEYS)
local state = readSamples(waiting, stateKey, feed)
local entries = redis.call('LLEN', waiting) / ENTRY
if entries == 0 then return {} end
local owner = redis.call('GET', lease)
if owner and owner ~= ARGV[1] then return {} end
redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
-- Of as many entries as are about as long together.
local n = math.max(1, math.floor(entries * ARGV[3] / math.max(state.bytes, ARGV[3])))
return { string.format('%.0f', state.serial), redis.call('LRANGE', waiting, 0, n * ENTRY - 1) }
