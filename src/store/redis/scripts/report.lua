-- Stores the report of an instance, and deletes those that have expired.
--
-- KEYS  1 instances
-- ARGV  1 instance   2 when it reported, Unix ms   3 its report   4 how long reports are kept, ms

local reports = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
for i = 1, #reports, 2 do
  local reportedMs = string.match(reports[i + 1], '^%d+')
  if math.abs(ARGV[2] - reportedMs) > tonumber(ARGV[4]) then redis.call('HDEL', KEYS[1], reports[i]) end
end
