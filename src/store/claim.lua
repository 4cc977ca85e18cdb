-- Makes the caller the only writer of a session.
--
-- KEYS  1 session
-- ARGV  1 offset of the stream's first packet   2 expiry of a session, ms
--
-- Returns { epoch, committed }, or { 0, committed } when the offset lies above what is committed.

local epoch, committed = 0, ARGV[1]
local state = redis.call('GET', KEYS[1])
if state then
  epoch, committed = string.match(state, '^(%d+) (%d+)$')
  if not epoch then
    return redis.error_reply('ERR ' .. KEYS[1] .. ' holds a value Tally did not write: ' .. state)
  end
  if tonumber(ARGV[1]) > tonumber(committed) then
    return { 0, tonumber(committed) }
  end
end
epoch = tonumber(epoch) + 1
redis.call('SET', KEYS[1], string.format('%.0f', epoch) .. ' ' .. committed, 'PX', ARGV[2])
return { epoch, tonumber(committed) }
