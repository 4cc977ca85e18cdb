-- Stores rules, mutes or acknowledgements, all or none. Preceded by prelude.lua.
--
-- KEYS  1 version   2 a key that does not exist   3… a hash of each kind
-- ARGV  of each document: index of its hash from 1 on, id, version that it must have (0: it must not exist, '': any),
--       most documents of its kind, body
--
-- Returns { 'stored', versions… }, or { 'conflict' | 'full', id } if none was stored.

local versions, sizes = { 'stored' }, {}
for i = 1, #ARGV, 5 do
  local key, id, expected, most = KEYS[2 + ARGV[i]], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local found = redis.call('HGET', key, id)
  local version = found and tonumber(string.match(found, '^%d+')) or 0
  if expected ~= '' and tonumber(expected) ~= version then return { 'conflict', id } end
  if not found then
    sizes[key] = (sizes[key] or redis.call('HLEN', key)) + 1
    if sizes[key] > most then return { 'full', id } end
  end
  versions[#versions + 1] = version + 1
end
local next = math.max((tonumber(redis.call('GET', KEYS[1])) or 0) + 1, clockMicros())
checkWritable(KEYS[2])
for i = 1, #ARGV, 5 do
  local version = versions[(i + 4) / 5 + 1]
  redis.call('HSET', KEYS[2 + ARGV[i]], ARGV[i + 1], string.format('%.0f ', version) .. ARGV[i + 4])
end
redis.call('SET', KEYS[1], string.format('%.0f', next))
return versions
