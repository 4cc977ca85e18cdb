-- Reads the first bytes of payloads. Preceded by prelude.lua.
--
-- KEYS  1 records   2 payloads
-- ARGV  1 how many bytes of each   2… device ids
--
-- Returns for each device { length of its payload, its first bytes }, or false if it has no record.

local previews = {}
for i, record in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, 2))) do
  if record then
    local long = string.byte(record, RECORD_LONG_PAYLOAD_AT) == 1
    local payload = long and redis.call('HGET', KEYS[2], ARGV[i + 1]) or string.sub(record, RECORD_BYTES + 1)
    previews[i] = { #payload, string.sub(payload, 1, ARGV[1]) }
  else
    previews[i] = false
  end
end
return previews
