-- Segment logs, for apply.lua, merge.lua and adopt_log.lua; segment_log.ts explains them.
--
-- A log is a hash: owner (the process that may append and merge), committed (its newest segment), merge (how far its
-- segments are merged, as SegmentLog writes it: the last one that is merged comes first), and for each segment that is
-- not merged its number and the name of its key. The hash of all logs has of each that is not empty:
-- '<until when its owner has it, Unix ms> <when the oldest packets in it were received, Unix ms>'.

-- After so long without a commit or a merge another process takes a log over.
local LOG_LEASE_MS = 15000

-- Nil if `owner` does not have the log, or if there is none.
local function readLog(log, owner)
  local found = redis.call('HMGET', log, 'owner', 'committed', 'merge')
  if found[1] ~= owner then return nil end
  return { committed = tonumber(found[2]), merge = found[3], merged = tonumber(string.match(found[3], '^%d+')) }
end

-- Renews the lease. `since`: when the oldest packets in it were received; nil: unchanged.
local function writeLease(logs, name, since)
  since = since or tonumber(string.match(redis.call('HGET', logs, name) or '', '%d+$')) or 0
  redis.call('HSET', logs, name, string.format('%.0f %.0f', clockMs() + LOG_LEASE_MS, since))
end

-- When the oldest packets that are in logs were received; nil: all logs are empty.
local function oldestInLogs(logs)
  local oldest
  for _, value in ipairs(redis.call('HVALS', logs)) do
    local since = tonumber(string.match(value, '%d+$'))
    if not oldest or since < oldest then oldest = since end
  end
  return oldest
end
