-- Changes labels of devices, all or none. Preceded by prelude.lua.
--
-- KEYS  1 labels   2 notes   3 version   4 changes of labels   5 counts   6 a key that does not exist
-- ARGV  1 devices that may have labels beside those that were seen   2 labels of a device without any
--       3… four of each device: its id; its labels as they were read, or ''; as they become; '', or '=' and its notes
--
-- Returns 'changed' if labels are no longer what was read, the id of a device that is one too many, or false.

local labels, notes, nothing = KEYS[1], KEYS[2], KEYS[6]
local mayBeUnseen, none = tonumber(ARGV[1]), ARGV[2]
local versions = readVersion(KEYS[3], KEYS[4])
local room = redis.call('HLEN', KEYS[5]) + mayBeUnseen - redis.call('HLEN', labels)
redis.call('HLEN', notes) -- fails if it is no hash

local kept, gone, newNotes, oldNotes, changed = {}, {}, {}, {}, {}
for i = 3, #ARGV, 4 do
  local id, was, becomes, note = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if (redis.call('HGET', labels, id) or '') ~= was then return 'changed' end
  local before = redis.call('HGET', notes, id) or ''
  local after = note == '' and before or string.sub(note, 2)
  local isNone = becomes == none and after == ''
  if isNone then becomes = '' end
  if was == '' and becomes ~= '' then
    room = room - 1
    if room < 0 and redis.call('HEXISTS', KEYS[5], id) == 0 then return { id } end
  end
  if was ~= becomes then
    if isNone then gone[#gone + 1] = id else kept[#kept + 1], kept[#kept + 2] = id, becomes end
    changed[#changed + 1] = id
  end
  if before ~= after then
    if after == '' then oldNotes[#oldNotes + 1] = id else newNotes[#newNotes + 1], newNotes[#newNotes + 2] = id, after end
  end
end

if #changed + #newNotes + #oldNotes == 0 then return false end
checkWritable(nothing)
if #kept > 0 then redis.call('HSET', labels, unpack(kept)) end
if #gone > 0 then redis.call('HDEL', labels, unpack(gone)) end
if #newNotes > 0 then redis.call('HSET', notes, unpack(newNotes)) end
if #oldNotes > 0 then redis.call('HDEL', notes, unpack(oldNotes)) end
if #changed > 0 then addChanges(KEYS[3], KEYS[4], versions, invalidationPart(changed)) end
return false
