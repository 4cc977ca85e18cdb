-- What apply.lua appends to the packet stream. Preceded by prelude.lua and devices.lua.
--
-- An entry for each of `packedEntries`: the position of its device in the batch, in 32 bits, the id, preceded by its
-- length in one byte, and the packets, preceded by their length in 32 bits.

local packetStream, maxEntries, packedEntries = KEYS[21], ARGV[18], ARGV[19]
local appendsPackets = maxEntries ~= '0'

-- Fails if this user may not append, or Redis is older than 6.2, or the key is of another type.
local function checkPacketStream(nothing)
  redis.call('XLEN', packetStream)
  redis.call('XADD', nothing, 'NOMKSTREAM', '*', 'device', '')
  redis.call('XTRIM', nothing, 'MAXLEN', '~', maxEntries)
end

-- `refused`: positions of devices of which nothing is stored.
local function appendPackets(refused)
  local call, isRefused, at, size = redis.call, {}, 1, #packedEntries
  for i = 1, #refused do isRefused[refused[i]] = true end
  while at <= size do
    local position, id, packets
    position, id, packets, at = unpackOne('>I4Bc0I4c0', packedEntries, at)
    if not isRefused[position] then
      call('XADD', packetStream, '*', 'device', id, 'received', ARGV[1], 'packets', packets)
    end
  end
  -- One call removes 100 nodes of it at most.
  while call('XTRIM', packetStream, 'MAXLEN', '~', maxEntries) > 0 do end
end
