-- Makes the callers the only writers of their sessions. Preceded by prelude.lua.
--
-- KEYS  1 lineage   2 version   3… sessions
-- ARGV  1 expiry of a session, ms   2… offset of each stream's first packet
--
-- Returns for each session { epoch, committed, lost }, or its value if Tally did not write it. An offset above what is
-- committed becomes what is committed: see SessionClaim in packets.ts.

local lineageKey, version, expiryMs = KEYS[1], KEYS[2], ARGV[1]
local now = clockMs()
local lineage = readLineage(lineageKey, version) or { began = now, reverted = 0 }
local since = math.max(lineage.began, lineage.reverted)
local claims, values, reverted = {}, {}, false

for i = 1, #KEYS - 2 do
  local key, offset = KEYS[2 + i], tonumber(ARGV[1 + i])
  -- One that an earlier claim of this call has changed is not written yet.
  local state = values[key] or redis.call('GET', key)
  local epoch, committed, lost = 0, offset, 0
  local isForeign = false
  if state then
    local stored
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
    claims[i] = { epoch, committed, lost }
  end
end

for key, value in pairs(values) do redis.call('SET', key, value, 'PX', expiryMs) end
if reverted then writeLineage(lineageKey, lineage.began, now) end
return claims
