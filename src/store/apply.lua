-- Applies one batch, all of it or nothing, once.
--
-- KEYS  1 counts   2 devices   3 producer   4… one per session
-- ARGV  1 sequence of the batch
--       2 when its packets were received, Unix ms
--       3 expiry of the producer, ms
--       4 expiry of a session, ms
--       5 devices, packed: see DEVICE
--       6… two per session: the value it must have, the value it gets
--
-- Returns the zero-based indexes of sessions that do not have the value they must have. None: the
-- batch is applied, now or before.
--
-- Everything is read and checked first and written last, because Redis does not undo what a failed
-- script wrote. Out of memory, a read-only replica and a failing disk are all reported at the first
-- write; so that memory is checked there, the first write must be one that Redis refuses when memory
-- is short (HSET and SET are, PEXPIRE and HDEL are not).

local counts, devices, producer = KEYS[1], KEYS[2], KEYS[3]
local FIRST_SESSION = 4
local sequence, receivedAtMs, producerExpiryMs, sessionExpiryMs = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- Big-endian: id with a 16-bit length, packets and timestamp as doubles, and what ends its record,
-- '<timestamp> <payload>', with a 32-bit length.
local DEVICE = '>I2c0ddI4c0'

-- Devices or keys per command: two values each stay well below the 8,000 that unpack() can return.
local CHUNK = 1000

local receivedAt = tonumber(receivedAtMs)

-- 1. Applied before? Even then something is written, so that a WAIT or WAITAOF that follows covers the
-- batch: they are only promised to cover what their own connection wrote, and the batch may have come over
-- another one.
local applied = redis.call('GET', producer)
if applied and tonumber(sequence) <= tonumber(applied) then
  redis.call('PEXPIRE', producer, producerExpiryMs)
  return {}
end

-- 2. Does every stream still own its session?
local fenced = {}
for from = FIRST_SESSION, #KEYS, CHUNK do
  local to = math.min(from + CHUNK - 1, #KEYS)
  local values = redis.call('MGET', unpack(KEYS, from, to))
  for i = 1, to - from + 1 do
    local index = from + i - 1 - FIRST_SESSION
    if values[i] ~= ARGV[6 + 2 * index] then
      fenced[#fenced + 1] = index
    end
  end
end
if #fenced > 0 then
  return fenced
end

-- 3. What the devices become. Counts are computed here instead of by HINCRBY, which is one command per
-- device and may fail in the middle of the batch.
local writes = {}
local packed, position = ARGV[5], 1
while position <= #packed do
  local ids, packets, timestamps, ends, n = {}, {}, {}, {}, 0
  while n < CHUNK and position <= #packed do
    n = n + 1
    ids[n], packets[n], timestamps[n], ends[n], position = struct.unpack(DEVICE, packed, position)
  end
  local oldCounts = redis.call('HMGET', counts, unpack(ids))
  local oldRecords = redis.call('HMGET', devices, unpack(ids))
  local newCounts, newRecords = {}, {}
  for i = 1, n do
    local count = tonumber(oldCounts[i] or 0)
    if not count or count % 1 ~= 0 then
      return redis.error_reply('ERR ' .. counts .. ' holds a count that is not an integer: ' .. oldCounts[i])
    end
    newCounts[2 * i - 1] = ids[i]
    -- Not tostring(): Lua writes integers from 1e14 on with an exponent.
    newCounts[2 * i] = string.format('%d', count + packets[i])

    local first, last, tail = receivedAtMs, receivedAtMs, ends[i]
    local record = oldRecords[i]
    if record then
      local oldFirst, oldLast, tailAt, oldTimestamp = string.match(record, '^(%d+) (%d+) ()(%-?%d+) ')
      if not oldFirst then
        return redis.error_reply('ERR ' .. devices .. ' holds a record Tally did not write, of device ' .. ids[i])
      end
      first = oldFirst
      if tonumber(oldLast) > receivedAt then last = oldLast end
      if tonumber(oldTimestamp) > timestamps[i] then tail = string.sub(record, tailAt) end
    end
    newRecords[2 * i - 1] = ids[i]
    newRecords[2 * i] = first .. ' ' .. last .. ' ' .. tail
  end
  writes[#writes + 1] = { newCounts, newRecords }
end

-- 4. Nothing below can be refused once the first write was taken.
for i = 1, #writes do
  redis.call('HSET', counts, unpack(writes[i][1]))
  redis.call('HSET', devices, unpack(writes[i][2]))
end
for key = FIRST_SESSION, #KEYS do
  redis.call('SET', KEYS[key], ARGV[7 + 2 * (key - FIRST_SESSION)], 'PX', sessionExpiryMs)
end
redis.call('SET', producer, sequence, 'PX', producerExpiryMs)
return {}
