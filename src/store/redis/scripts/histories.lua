-- Histories of devices, for apply.lua.
--
-- A history: HISTORY_HEAD (minutes, the bytes they take, hours); then the packets of each as a varint, oldest
-- first. They are the closed periods; the current minute and hour are in the record, so that a history is written
-- once a minute and not with every batch.

local function varint(value)
  local bytes = ''
  while value >= 128 do
    bytes = bytes .. string.char(128 + value % 128)
    value = math.floor(value / 128)
  end
  return bytes .. string.char(value)
end

-- Appends the period that ended and the empty ones after it, `gap` in all; keeps the newest `max`.
local function close(periods, n, packets, gap, max)
  if gap > max then return '', 0 end
  periods, n = periods .. varint(packets) .. string.rep('\0', gap - 1), n + gap
  local from = 1
  for _ = max + 1, n do
    while string.byte(periods, from) >= 128 do from = from + 1 end
    from = from + 1
  end
  return string.sub(periods, from), math.min(n, max)
end

local function closePeriods(history, ended)
  local minutes, minuteCount, hours, hourCount = '', 0, '', 0
  if history then
    local minuteBytes
    minuteCount, minuteBytes, hourCount = struct.unpack(HISTORY_HEAD, history)
    minutes = string.sub(history, HISTORY_HEAD_BYTES + 1, HISTORY_HEAD_BYTES + minuteBytes)
    hours = string.sub(history, HISTORY_HEAD_BYTES + minuteBytes + 1)
  end
  -- One less than is shown: the current one is the last.
  minutes, minuteCount = close(minutes, minuteCount, ended.minutePackets, ended.minutes, HISTORY_MINUTES - 1)
  if ended.hours > 0 then
    hours, hourCount = close(hours, hourCount, ended.hourPackets, ended.hours, HISTORY_HOURS - 1)
  end
  return struct.pack(HISTORY_HEAD, minuteCount, #minutes, hourCount) .. minutes .. hours
end

-- New histories of the devices whose minute is over, as alternating ids and values.
local function closeHistories(histories, endedIds, ended)
  local newHistories = {}
  if #endedIds == 0 then return newHistories end
  local oldHistories = redis.call('HMGET', histories, unpack(endedIds))
  for i = 1, #endedIds do
    newHistories[2 * i - 1] = endedIds[i]
    newHistories[2 * i] = closePeriods(oldHistories[i], ended[i])
  end
  return newHistories
end

