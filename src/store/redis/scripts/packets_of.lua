-- Searches the packet stream for entries of one device.
--
-- KEYS  1 packet stream
-- ARGV  1 device id   2 entry after which, '': from the oldest   3 entries to return, at most
--       4 bytes to return, unless one entry has more   5 bytes to search, about
--
-- Returns three values: for each entry found, its id, when it was received, and its packets; the last entry that was
-- searched, or what was given; 1 if nothing is after that.

local stream, device, after = KEYS[1], ARGV[1], ARGV[2]
local limit, maxBytes, maxSearched = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- An entry is larger than 64 KiB only if one packet is.
local CHUNK, ENTRY_BYTES = 16, 64
local found, bytes, searched = {}, 0, 0

while searched < maxSearched do
  local entries = redis.call('XRANGE', stream, after == '' and '-' or '(' .. after, '+', 'COUNT', CHUNK)
  for _, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local packets = fields[6] or ''
    if fields[2] == device then
      if #found == limit or bytes > 0 and bytes + #packets > maxBytes then return { found, after, 0 } end
      found[#found + 1] = { id, fields[4], packets }
      bytes = bytes + #packets
    end
    searched = searched + ENTRY_BYTES + #packets
    after = id
  end
  if #entries < CHUNK then return { found, after, 1 } end
end
return { found, after, 0 }
