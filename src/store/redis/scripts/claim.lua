-- Makes the callers the only writers of their sessions. Preceded by prelude.lua.
--
-- KEYS  1 lineage   2 version   3 list of sessions   4… two per session: the session, and the one that it continues if it
--       is unknown (itself: none)
-- ARGV  1 expiry of a session, ms   2 expiry of a new session, ms   3 what the key of a session begins with
--       4… five per session: the offset of the stream's first packet; the sessions in all that there may be with
--       it, or -1 if it may not be made; the epoch that it gets, or 0; the oldest packet that its client can send again
--       (the offset: none); and the epoch of the claim under which that was acknowledged, or 0; negative: the store does
--       not see all batches
--
-- Returns for each session { epoch, committed, lost, isNew, refused }, or its value if Tally did not write it. An
-- offset above what is committed, or the oldest packet that its client has, becomes what is committed: see SessionClaim
-- in packets.ts. `refused`: 0, or the limit of SessionLimits: 1 maxSessions, 2 mayCreate; or 3, the session has a
-- greater epoch.

local lineageKey, version, list = KEYS[1], KEYS[2], KEYS[3]
local expiryMs, newExpiryMs, prefix = ARGV[1], ARGV[2], ARGV[3]
local FIRST_SESSION, FIRST_CLAIM = 4, 4
local MAX_SESSIONS, MAY_CREATE, EPOCH = 1, 2, 3
local now = clockMs()
local known = readLineage(lineageKey, version)
local lineage = known or { began = now, reverted = 0 }
local since = math.max(lineage.began, lineage.reverted)
local claims, values, reverted = {}, {}, false
-- By key: true if it has a short expiry already, false if it gets one; nil if it lives long.
local keepsExpiry = {}

-- The list has each session once when it is made, and again if it is made again before its first entry was looked at.
-- So its length is never below the number of sessions that were made since there is a list. The oldest entries are
-- looked at with each claim of a new session: more than one leaves for each that comes, and many when there is no room.
local LOOKED_AT, LOOKED_AT_WHEN_FULL = 4, 200
local made, lookedAt, living, before = {}, 0, {}, nil

-- How many sessions there were before this call.
local function readNumber(maxSessions)
  local length = redis.call('LLEN', list)
  local oldest = redis.call('LRANGE', list, 0, (length < maxSessions and LOOKED_AT or LOOKED_AT_WHEN_FULL) - 1)
  lookedAt = #oldest
  for i = 1, lookedAt do
    if redis.call('GET', prefix .. oldest[i]) then living[#living + 1] = oldest[i] end
  end
  before = length - lookedAt + #living
end

-- Whether nothing is stored of a session that exists. A user who may not run PTTL has it live long.
local function hasShortExpiry(key)
  local leftMs = redis.pcall('PTTL', key)
  return type(leftMs) == 'number' and leftMs <= tonumber(newExpiryMs)
end

local function refusal(maxSessions)
  if maxSessions < 0 then return MAY_CREATE end
  if not before then readNumber(maxSessions) end
  return before + #made < maxSessions and 0 or MAX_SESSIONS
end

-- Whether the store lost a session that it does not have, and that a batch advanced after the claim of this epoch. Such
-- a session cannot have expired yet; the rest distinguishes it from one that was evicted, of which the packets are there.
-- The version is the time of the last batch, or later.
local function isLost(epoch)
  if epoch == 0 then return false end
  local seesAllBatches = epoch > 0
  epoch = math.abs(epoch)
  if lineage.began > epoch then return true end
  if now - epoch >= tonumber(expiryMs) then return false end
  if reverted or lineage.reverted > epoch then return true end
  if not seesAllBatches then return false end
  local micros = string.match(redis.call('GET', version) or '', '^(%d+) ')
  reverted = micros and math.floor(micros / 1000) < epoch
  return reverted
end

-- One that an earlier claim of this call has changed is not written yet.
local function read(key)
  return values[key] or redis.call('GET', key)
end

local function write(key, epoch, committed)
  if not values[key] and hasShortExpiry(key) then keepsExpiry[key] = true end
  values[key] = string.format('%.0f %.0f', epoch, committed)
end

for i = 0, (#KEYS - FIRST_SESSION + 1) / 2 - 1 do
  local key, continued = KEYS[FIRST_SESSION + 2 * i], KEYS[FIRST_SESSION + 1 + 2 * i]
  local first = FIRST_CLAIM + 5 * i
  local offset, maxSessions, given = tonumber(ARGV[first]), tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  local oldest = tonumber(ARGV[first + 3])
  local own, other = read(key), nil
  local refused = own and 0 or refusal(maxSessions)
  if not own and continued ~= key then other = read(continued) end
  local state = own or other
  local epoch, committed, lost = 0, offset, 0
  local isForeign, stored = false, 0
  if state then
    epoch, stored = string.match(state, '^(%d+) (%d+)$')
    isForeign = not epoch
    if not isForeign and given > 0 and tonumber(epoch) > given then refused = EPOCH end
    if not isForeign then
      stored = tonumber(stored)
      committed = math.max(oldest, stored)
      lost = committed - stored
      reverted = reverted or refused == 0 and offset > stored
    end
  elseif refused == 0 and isLost(tonumber(ARGV[first + 4])) then
    committed, lost = oldest, oldest
  elseif now - since < tonumber(expiryMs) then
    -- The data is too young: it cannot have expired.
    lost = offset
  end
  if isForeign then
    claims[i + 1] = state
  elseif refused > 0 then
    claims[i + 1] = { 0, 0, 0, own and 0 or 1, refused }
  else
    -- No epoch is used twice, not even by a store that was reverted: see readVersion() in prelude.lua.
    epoch = given > 0 and given or math.max(epoch + 1, now)
    write(key, epoch, committed)
    if not own then
      made[#made + 1] = key
      keepsExpiry[key] = false
    end
    if other then write(continued, epoch, stored) end
    claims[i + 1] = { epoch, committed, lost, own and 0 or 1, 0 }
  end
end

-- As long as nothing is stored of a session, no further claim makes it live longer. The first write is one that is
-- refused when memory is short.
for key, value in pairs(values) do
  local isShort = keepsExpiry[key]
  if isShort == nil then redis.call('SET', key, value, 'PX', expiryMs)
  elseif isShort then redis.call('SET', key, value, 'KEEPTTL')
  else redis.call('SET', key, value, 'PX', newExpiryMs) end
end
if lookedAt > 0 then redis.call('LTRIM', list, lookedAt, -1) end
for i = 1, #living do redis.call('RPUSH', list, living[i]) end
for i = 1, #made do redis.call('RPUSH', list, string.sub(made[i], #prefix + 1)) end
-- Written with the first claim, so that the data of a session did not begin after its claim.
if reverted or not known and #made > 0 then writeLineage(lineageKey, lineage.began, reverted and now or 0) end
return claims
