-- Makes the callers the only writers of their sessions. Preceded by prelude.lua.
--
-- KEYS  1 lineage   2 version   3… two per session: the session, and the one that it continues if it is unknown (itself:
--       none)
-- ARGV  1 expiry of a session, ms   2… offset of each stream's first packet
--
-- Returns for each session { epoch, committed, lost }, or its value if Tally did not write it. An offset above what is
-- committed becomes what is committed: see SessionClaim in packets.ts.

local lineageKey, version, expiryMs = KEYS[1], KEYS[2], ARGV[1]
local now = clockMs()
local lineage = readLineage(lineageKey, version) or { began = now, reverted = 0 }
local since = math.max(lineage.began, lineage.reverted)
local claims, values, reverted = {}, {}, false

-- One that an earlier claim of this call has changed is not written yet.
local function read(key)
  return values[key] or redis.call('GET', key)
end

for i = 1, #ARGV - 1 do
  local key, continued, offset = KEYS[1 + 2 * i], KEYS[2 + 2 * i], tonumber(ARGV[1 + i])
  local state, continues = read(key), false
  if not state and continued ~= key then
    state = read(continued)
    continues = state
  end
  local epoch, committed, lost = 0, offset, 0
  local isForeign, stored = false, 0
  if state then
    epoch, stored = string.match(state, '^(%d+) (%d+)$')
    isForeign = not epoch
    if not isForeign then
      committed = math.max(offset, stored)
      lost = committed - stored
      reverted = reverted or lost > 0
    end
  elseif now - since < tonumber(expiryMs) then
    -- The data is too young: it cannot have expired.
    lost = offset
  end
  if isForeign then
    claims[i] = state
  else
    -- No epoch is used twice, not even by a store that was reverted: see readVersion() in prelude.lua.
    epoch = math.max(epoch + 1, now)
    values[key] = string.format('%.0f %.0f', epoch, committed)
    if continues then values[continued] = string.format('%.0f %.0f', epoch, stored) end
    claims[i] = { epoch, committed, lost }
  end
end

for key, value in pairs(values) do redis.call('SET', key, value, 'PX', expiryMs) end
if reverted then writeLineage(lineageKey, lineage.began, now) end
return claims
