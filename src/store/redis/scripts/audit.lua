-- Appends to the audit log. Preceded by prelude.lua.
--
-- KEYS  1 audit log   2 a key that does not exist
-- ARGV  entries

local newest = redis.call('LINDEX', KEYS[1], -1)
local last = newest and string.match(newest, '^%d+') or 0
checkWritable(KEYS[2])
for i, entry in ipairs(ARGV) do
  redis.call('RPUSH', KEYS[1], string.format('%.0f ', last + i) .. entry)
end
redis.call('LTRIM', KEYS[1], -AUDIT_KEPT, -1)
