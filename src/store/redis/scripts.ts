/**
 * The Lua that runs in Redis. Scripts longer than a few lines are files of their own.
 *
 * @module
 */
import apply from "./scripts/apply.lua" with { type: "text" };
import claim from "./scripts/claim.lua" with { type: "text" };
import prelude from "./scripts/prelude.lua" with { type: "text" };
import offline from "./scripts/offline.lua" with { type: "text" };
import remove from "./scripts/remove.lua" with { type: "text" };
import { CHANGES_MAX_BYTES, CLOCK_AHEAD_MS } from "../devices.ts";
import { EVENTS_KEPT } from "../events.ts";
import { HISTORY_HOURS, HISTORY_MINUTES, HISTORY_SECONDS } from "../history.ts";
import { DEVICE_CLOCK_AHEAD_MS } from "../packets.ts";

/** Counts set aside that `apply.lua` returns, for a line of the log each. */
const ASIDE_REPORTED = 100;

const withFeed = (script: string) =>
  `local HISTORY_SECONDS, HISTORY_MINUTES, HISTORY_HOURS = ${HISTORY_SECONDS}, ${HISTORY_MINUTES}, ${HISTORY_HOURS}
local CHANGES_MAX_BYTES, EVENTS_KEPT, ASIDE_REPORTED = ${CHANGES_MAX_BYTES}, ${EVENTS_KEPT}, ${ASIDE_REPORTED}
local CLOCK_AHEAD_MS, DEVICE_CLOCK_AHEAD_MS = ${CLOCK_AHEAD_MS}, ${DEVICE_CLOCK_AHEAD_MS}
${prelude}
${script}`;

/** See `apply.lua`. */
export const applyScript: string = withFeed(apply);

/** See `claim.lua`. */
export const claimScript: string = withFeed(claim);

/** See `offline.lua`. */
export const offlineScript: string = withFeed(offline);

/** See `remove.lua`. */
export const removeScript: string = withFeed(remove);

/** KEYS: counts, records. ARGV: device ids. */
export const summariesScript: string =
  "return { redis.call('HMGET', KEYS[1], unpack(ARGV)), redis.call('HMGET', KEYS[2], unpack(ARGV)) }";

/** KEYS: counts, records. ARGV: cursor, how many devices at least. As many again may come, or a small hash as a whole. */
export const scanScript: string = `
local page, records = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]), {}
for i = 1, #page[2], 2 do records[#records + 1] = redis.call('HGET', KEYS[2], page[2][i]) end
return { page[1], page[2], records }`;

/** KEYS: counts, records, payloads. ARGV: device id. */
export const deviceScript: string =
  "local found = {} for i = 1, 3 do found[i] = redis.call('HGET', KEYS[i], ARGV[1]) end return found";

/** KEYS: records, payloads. ARGV: how many bytes of each, then device ids. */
export const payloadsScript: string = withFeed(`
local previews = {}
for i, record in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, 2))) do
  if record then
    local long = string.byte(record, RECORD_BYTES) == 1
    local payload = long and redis.call('HGET', KEYS[2], ARGV[i + 1]) or string.sub(record, RECORD_BYTES + 1)
    previews[i] = { #payload, string.sub(payload, 1, ARGV[1]) }
  else
    previews[i] = false
  end
end
return previews`);

/** KEYS: of the fleet's history. */
export const fleetScript: string =
  "local found = {} for i = 1, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end return found";

/** KEYS: of the fleet's history. ARGV: of each key, the last period to keep; what it is empty of is gone already. */
export const trimFleetScript: string = `
for i = 1, #KEYS do
  local periods, last = redis.call('HGETALL', KEYS[i]), tonumber(ARGV[i])
  for at = 1, #periods, 2 do
    if tonumber(periods[at]) > last then redis.call('HDEL', KEYS[i], periods[at]) end
  end
end`;

/**
 * KEYS: version, changes. ARGV: version the reader has, or nothing. Without entries: the list does not go on from
 * that version, because it lies too far back or the store does not hold it any more.
 */
export const changesScript: string = withFeed(`
local value, kept = redis.call('GET', KEYS[1]), redis.call('LLEN', KEYS[2])
local version = value and string.match(value, '^%d+') or '0'
if not ARGV[1] then return { version } end
if ARGV[1] == version then return { version, {} } end

-- Of the entry so many before the end; 0 of those that an earlier Tally wrote, which have none.
local function versionAt(back)
  local entry = redis.call('LINDEX', KEYS[2], -back)
  if string.byte(entry, 3) ~= 2 then return 0 end
  local _, _, found = struct.unpack(VERSION_HEAD, entry)
  return found
end
local since, newer, back = tonumber(ARGV[1]), 0, 1
while back <= kept and versionAt(back) > since do newer, back = back, back * 2 end
back = math.min(back, kept + 1)
while back - newer > 1 do
  local middle = math.floor((newer + back) / 2)
  if versionAt(middle) > since then newer = middle else back = middle end
end
if newer == 0 or back > kept or versionAt(back) ~= since then return { version } end
return { version, redis.call('LRANGE', KEYS[2], -newer, -1) }`);

/** KEYS: events. ARGV: id after which, limit. */
export const eventsScript: string = `
local oldest = redis.call('LINDEX', KEYS[1], 0)
if not oldest then return {} end
local from = math.max(0, ARGV[1] + 1 - string.match(oldest, '^%d+'))
return redis.call('LRANGE', KEYS[1], from, from + ARGV[2] - 1)`;

/** KEYS: owner, event delivered, events, lineage, version. ARGV: owner, its time in ms. */
export const claimDeliveryScript: string = withFeed(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
local delivered = redis.call('GET', KEYS[2])
if not delivered then
  local lineage = readLineage(KEYS[4], KEYS[5])
  if not lineage then
    lineage = { began = clockMs(), reverted = 0 }
    writeLineage(KEYS[4], lineage.began, lineage.reverted)
  end
  delivered = string.format('%.0f', readLastEvent(KEYS[3], lineage))
  redis.call('SET', KEYS[2], delivered)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return delivered`);

/** KEYS: owner, event delivered. ARGV: owner, event. */
export const commitDeliveryScript: string = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1`;

/** KEYS: instances. ARGV: instance, when it reported, its report, how long reports are kept. */
export const reportScript: string = `
local reports = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
for i = 1, #reports, 2 do
  if math.abs(ARGV[2] - string.match(reports[i + 1], '^%d+')) > tonumber(ARGV[4]) then redis.call('HDEL', KEYS[1], reports[i]) end
end`;
