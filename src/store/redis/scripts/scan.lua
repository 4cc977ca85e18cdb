-- Reads a page of devices. Preceded by prelude.lua.
--
-- KEYS  1 counts   2 records
-- ARGV  1 cursor   2 how many devices at least: as many again may come, or a small hash as a whole
--
-- Returns the cursor of the next page, its devices in parts as in the list of changes, in one string, for to take a
-- string of each from a reply costs readers most; and of devices that do not fit into these, because another program
-- counted them or their count is none: id, value, and record if there is one.

local CHUNK, MAX_COUNT = 1000, 2 ^ 53 - 1
local find, sub, tonumber = string.find, string.sub, tonumber
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local fields, parts, others = page[2], {}, {}

local function addPart(from, to)
  local ids = {}
  for i = from, to, 2 do ids[#ids + 1] = fields[i] end
  local found = redis.call('HMGET', KEYS[2], unpack(ids))
  local packedIds, counts, records, n = {}, {}, {}, 0
  for i = 1, #ids do
    local id, value, record = ids[i], fields[from + 2 * i - 1], found[i]
    local count = not find(value, '%D') and tonumber(value)
    if count and count <= MAX_COUNT and record and #record >= RECORD_BYTES and #id < 256 then
      n = n + 1
      packedIds[n], counts[n], records[n] = string.char(#id) .. id, count, sub(record, 1, RECORD_BYTES)
    else
      others[#others + 1] = { id, value, record }
    end
  end
  if n > 0 then parts[#parts + 1] = fullPart(n, table.concat(packedIds), counts, records) end
end

for from = 1, #fields, 2 * CHUNK do addPart(from, math.min(from + 2 * CHUNK - 1, #fields)) end
return { page[1], table.concat(parts), others }
