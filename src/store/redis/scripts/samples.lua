-- Samples that wait to be added to the values of their devices, for the scripts that append, fold or remove them.
-- sample_folder.ts explains them.
--
-- What waits is a list, four elements for each entry: '<kind> <received, Unix ms> <devices>', the ids, the payloads, and
-- when each was received; the last two may be empty. The state beside it is
-- '<serial> <bytes that wait> <samples dropped> <serial of the newest entry of the feed> <bytes of the feed>'. The serial
-- rises with all that a fold must not miss; it is the time in microseconds, or one more than the last. The feed is a list
-- of '<serial>' and the ids of devices whose values changed, two elements for each entry.

local SAMPLES, REMOVED, ENTRY, FEED_ENTRY = 's', 'r', 4, 2

local function readSamples(waitingKey, stateKey, feedKey)
  redis.call('LLEN', waitingKey) -- fails if it is no list
  redis.call('LLEN', feedKey)
  local value = redis.call('GET', stateKey) or '0 0 0 0 0'
  local serial, bytes, dropped, fed, fedBytes = string.match(value, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not serial then error(stateKey .. ' holds a value Tally did not write: ' .. value) end
  return {
    waitingKey = waitingKey, stateKey = stateKey, feedKey = feedKey,
    serial = tonumber(serial), bytes = tonumber(bytes), dropped = tonumber(dropped),
    fed = tonumber(fed), fedBytes = tonumber(fedBytes),
  }
end

local function writeSamples(state)
  local value = string.format('%.0f %.0f %.0f %.0f %.0f', state.serial, state.bytes, state.dropped, state.fed, state.fedBytes)
  redis.call('SET', state.stateKey, value)
end

local function nextSerial(state)
  state.serial = math.max(state.serial + 1, clockMicros())
end

-- `n` devices; the oldest entries are dropped where more would wait than may.
local function appendSamples(state, kind, at, n, ids, payloads, seen)
  redis.call('RPUSH', state.waitingKey, string.format('%s %.0f %.0f', kind, at, n), ids, payloads, seen)
  state.bytes = state.bytes + #ids + #payloads + #seen
  while state.bytes > WAITING_MAX_BYTES do
    local head = redis.call('LPOP', state.waitingKey)
    if not head then
      state.bytes = 0
      break
    end
    for _ = 2, ENTRY do state.bytes = state.bytes - #(redis.call('LPOP', state.waitingKey) or '') end
    if string.sub(head, 1, 1) == SAMPLES then
      state.dropped = state.dropped + tonumber(string.match(head, '%d+$'))
    end
    nextSerial(state)
  end
end

local function packList(ids)
  local packed = {}
  for i = 1, #ids do packed[i] = string.char(#ids[i]) .. ids[i] end
  return table.concat(packed)
end

-- What waits of these devices is of no device: they were removed, or never added.
local function appendRemoved(state, ids)
  if redis.call('LLEN', state.waitingKey) == 0 then return end
  appendSamples(state, REMOVED, 0, #ids, packList(ids), '', '')
end

-- The values of devices are others from this serial on.
local function feedValues(state, packedIds)
  -- Before the first entry, for readers that have serial 0.
  if state.fed == 0 and redis.call('LLEN', state.feedKey) == 0 then
    redis.call('RPUSH', state.feedKey, '0', '')
    state.fedBytes = state.fedBytes + 32
  end
  nextSerial(state)
  redis.call('RPUSH', state.feedKey, string.format('%.0f', state.serial), packedIds)
  state.fed, state.fedBytes = state.serial, state.fedBytes + #packedIds + 32
  while state.fedBytes > FEED_MAX_BYTES do
    redis.call('LPOP', state.feedKey)
    state.fedBytes = state.fedBytes - #(redis.call('LPOP', state.feedKey) or '') - 32
  end
end
