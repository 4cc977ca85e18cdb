/**
 * The Lua that runs in Redis. Scripts longer than a few lines are files of their own, in `scripts/`.
 *
 * @module
 */
import { CHANGES_MAX_BYTES, CLOCK_AHEAD_MS } from "../devices.ts";
import { AUDIT_KEPT } from "../audit.ts";
import { EVENTS_KEPT } from "../events.ts";
import { HISTORY_HOURS, HISTORY_MINUTES, HISTORY_SECONDS } from "../history.ts";
import { historyHead } from "../model/periods.ts";
import { DEVICE_CLOCK_AHEAD_MS } from "../packets.ts";
import { FEED_MAX_BYTES, WAITING_MAX_BYTES } from "../values.ts";
import {
  changesHead,
  changesKinds,
  LAYOUT_VERSION,
  recordLayout,
  SHORT_PAYLOAD_BYTES,
  versionHead,
} from "./layout.ts";
import addTokens from "./scripts/add_tokens.lua" with { type: "text" };
import adoptLog from "./scripts/adopt_log.lua" with { type: "text" };
import alertState from "./scripts/alert_state.lua" with { type: "text" };
import apply from "./scripts/apply.lua" with { type: "text" };
import changes from "./scripts/changes.lua" with { type: "text" };
import audit from "./scripts/audit.lua" with { type: "text" };
import claim from "./scripts/claim.lua" with { type: "text" };
import devices from "./scripts/devices.lua" with { type: "text" };
import fold from "./scripts/fold.lua" with { type: "text" };
import histories from "./scripts/histories.lua" with { type: "text" };
import importEvents from "./scripts/import_events.lua" with { type: "text" };
import lease from "./scripts/lease.lua" with { type: "text" };
import merge from "./scripts/merge.lua" with { type: "text" };
import offline from "./scripts/offline.lua" with { type: "text" };
import packetStream from "./scripts/packet_stream.lua" with { type: "text" };
import packetsOf from "./scripts/packets_of.lua" with { type: "text" };
import payloads from "./scripts/payloads.lua" with { type: "text" };
import prelude from "./scripts/prelude.lua" with { type: "text" };
import putAlerts from "./scripts/put_alerts.lua" with { type: "text" };
import remove from "./scripts/remove.lua" with { type: "text" };
import removeAlerts from "./scripts/remove_alerts.lua" with { type: "text" };
import report from "./scripts/report.lua" with { type: "text" };
import revokeTokens from "./scripts/revoke_tokens.lua" with { type: "text" };
import samples from "./scripts/samples.lua" with { type: "text" };
import scan from "./scripts/scan.lua" with { type: "text" };
import segments from "./scripts/segments.lua" with { type: "text" };
import setLabels from "./scripts/set_labels.lua" with { type: "text" };
import takeSamples from "./scripts/take_samples.lua" with { type: "text" };
import upgrade from "./scripts/upgrade.lua" with { type: "text" };
import valueChanges from "./scripts/value_changes.lua" with { type: "text" };

/** Counts set aside that `apply.lua` returns, for a line of the log each. */
const ASIDE_REPORTED = 100;

/** Numbers that TypeScript and Lua share, by the names that the scripts use. */
const constants = {
  HISTORY_SECONDS,
  HISTORY_MINUTES,
  HISTORY_HOURS,
  CHANGES_MAX_BYTES,
  WAITING_MAX_BYTES,
  FEED_MAX_BYTES,
  EVENTS_KEPT,
  AUDIT_KEPT,
  ASIDE_REPORTED,
  CLOCK_AHEAD_MS,
  DEVICE_CLOCK_AHEAD_MS,
  SHORT_PAYLOAD_BYTES,
  LAYOUT_VERSION,
  HISTORY_HEAD: `'${historyHead.luaFormat}'`,
  HISTORY_HEAD_BYTES: historyHead.bytes,
  CHANGES_HEAD: `'${changesHead.luaFormat}'`,
  CHANGES_INVALIDATION: changesKinds.invalidation,
  CHANGES_FULL: changesKinds.full,
  CHANGES_VERSION: changesKinds.version,
  VERSION_HEAD: `'${versionHead.luaFormat}'`,
  RECORD: `'${recordLayout.luaFormat}'`,
  RECORD_BYTES: recordLayout.bytes,
  // Lua counts from 1.
  RECORD_LONG_PAYLOAD_AT: recordLayout.offsets.longPayload + 1,
};

/**
 * A script preceded by {@linkcode constants} and `prelude.lua`. `RECORD_FIELDS` in it stands for the fields of
 * {@linkcode recordLayout} by name: variables, because a table of them would take a tenth longer.
 */
function withPrelude(script: string): string {
  return compact(`local ${Object.keys(constants).join(", ")} = ${Object.values(constants).join(", ")}
${prelude}
${script.replaceAll("RECORD_FIELDS", recordLayout.names.join(", "))}`);
}

/**
 * Without comments and indentation: a user without EVALSHA has Redis read and hash a script with each call, 80 µs for the
 * 37 KB of `apply.lua` with all that precedes it. Lines keep their numbers, for errors.
 */
function compact(script: string): string {
  return script.replace(/^[ \t]+/gm, "").replace(/^--.*$/gm, "");
}

/**
 * A script that runs only on this program's layout. The layout's key is the last of its KEYS, see
 * {@linkcode ShardKeys.layout}; the script itself does not see it.
 */
function checked(script: string): string {
  return `local layout = redis.call('GET', table.remove(KEYS))
if layout ~= '${LAYOUT_VERSION}' then return redis.error_reply('LAYOUT ' .. tostring(layout)) end
${script}`;
}

/** Whether a script replied that the data has another layout: then it has read and written nothing. */
export function isLayoutError(message: string): boolean {
  return /^(ERR )?LAYOUT\b/.test(message);
}

/** See `upgrade.lua`. */
export const upgradeScript: string = withPrelude(upgrade);

/**
 * Reads into how many shards the data is divided, or writes it if there is no data yet. KEYS: number of shards, and of a
 * store with one shard the layout and the counts. ARGV: the number to write. Data without a number has one shard.
 */
export const shardCountScript: string = `local found = redis.call('GET', KEYS[1])
if found then return found end
if redis.call('GET', KEYS[2]) or redis.call('HLEN', KEYS[3]) > 0 then return '1' end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]`;

/** See `apply.lua`. */
export const applyScript: string = checked(
  withPrelude(histories + devices + segments + samples + packetStream + apply),
);

/** See `packets_of.lua`. */
export const packetsOfScript: string = checked(packetsOf);

/** See `merge.lua`. */
export const mergeScript: string = checked(withPrelude(histories + devices + segments + samples + merge));

/** See `adopt_log.lua`. */
export const adoptLogScript: string = checked(withPrelude(segments + adoptLog));

/** KEYS: logs. */
export const logsScript: string = checked("return redis.call('HGETALL', KEYS[1])");

/** KEYS: segments. */
export const segmentsScript: string = checked("return redis.call('MGET', unpack(KEYS))");

/** See `claim.lua`. */
export const claimScript: string = checked(withPrelude(claim));

/** See `offline.lua`. */
export const offlineScript: string = checked(withPrelude(segments + offline));

/** See `remove.lua`. */
export const removeScript: string = checked(withPrelude(segments + samples + remove));

/** See `take_samples.lua`. */
export const takeSamplesScript: string = checked(withPrelude(samples + takeSamples));

/** See `fold.lua`. */
export const foldScript: string = checked(withPrelude(samples + fold));

/** See `value_changes.lua`. */
export const valueChangesScript: string = checked(withPrelude(samples + valueChanges));

/** KEYS: values, or their minutes or hours. ARGV: how many ids, 1,000 at most; each, preceded by its length in one byte. */
export const valuesScript: string = checked(
  `local ids = { struct.unpack('>' .. string.rep('Bc0', ARGV[1]), ARGV[2]) }
table.remove(ids)
return redis.call('HMGET', KEYS[1], unpack(ids))`,
);

/** See `changes.lua`. */
export const changesScript: string = checked(withPrelude(changes));

/** See `payloads.lua`. */
export const payloadsScript: string = checked(withPrelude(payloads));

/** See `lease.lua`. */
export const claimDeliveryScript: string = checked(withPrelude(lease));

/** See `report.lua`. */
export const reportScript: string = checked(report);

/** Writes a key that expires at once. KEYS: that key. */
export const probeScript: string = checked("return redis.call('SET', KEYS[1], '', 'PX', 1)");

/** KEYS: counts, records. ARGV: device ids. */
export const summariesScript: string = checked(
  "return { redis.call('HMGET', KEYS[1], unpack(ARGV)), redis.call('HMGET', KEYS[2], unpack(ARGV)) }",
);

/** See `scan.lua`. */
export const scanScript: string = checked(withPrelude(scan));

/** KEYS: counts, records, and payloads or histories. ARGV: device id. */
export const deviceScript: string = checked(
  "local found = {} for i = 1, 3 do found[i] = redis.call('HGET', KEYS[i], ARGV[1]) end return found",
);

/** KEYS: of the fleet's history. */
export const fleetScript: string = checked(
  "local found = {} for i = 1, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end return found",
);

/** KEYS: of the fleet's history. ARGV: of each key, the last period to keep. */
export const trimFleetScript: string = checked(
  `for i = 1, #KEYS do
  local periods, last = redis.call('HGETALL', KEYS[i]), tonumber(ARGV[i])
  for at = 1, #periods, 2 do
    if tonumber(periods[at]) > last then redis.call('HDEL', KEYS[i], periods[at]) end
  end
end`,
);

/** KEYS: packets of removed devices. */
export const removedScript: string = checked("return redis.call('GET', KEYS[1])");

/** KEYS: events. ARGV: limit. */
export const newestEventsScript: string = checked("return redis.call('LRANGE', KEYS[1], -ARGV[1], -1)");

/** KEYS: events. ARGV: id after which, limit. */
export const eventsScript: string = checked(
  `local oldest = redis.call('LINDEX', KEYS[1], 0)
if not oldest then return {} end
local from = math.max(0, ARGV[1] + 1 - string.match(oldest, '^%d+'))
return redis.call('LRANGE', KEYS[1], from, from + ARGV[2] - 1)`,
);

/** See `import_events.lua`. */
export const importEventsScript: string = checked(withPrelude(importEvents));

/** KEYS: owner, event delivered. ARGV: owner, event. */
export const commitDeliveryScript: string = checked(
  `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1`,
);

/** KEYS: instances. ARGV: instance. */
export const removeInstanceScript: string = checked("return redis.call('HDEL', KEYS[1], ARGV[1])");

/** KEYS: instances. */
export const instancesScript: string = checked("return redis.call('HVALS', KEYS[1])");

/** See `add_tokens.lua`. */
export const addTokensScript: string = checked(withPrelude(addTokens));

/** See `revoke_tokens.lua`. */
export const revokeTokensScript: string = checked(withPrelude(revokeTokens));

/** KEYS: tokens, uses. ARGV: hashes. */
export const tokensByHashScript: string = checked(
  "return { redis.call('HMGET', KEYS[1], unpack(ARGV)), redis.call('HMGET', KEYS[2], unpack(ARGV)) }",
);

/** KEYS: ids, tokens, uses. ARGV: after which, and before which, in the order of the ids; limit. */
export const tokensScript: string = checked(
  `local found = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local records, uses = {}, {}
for i = 1, #found do
  local hash = string.match(found[i], '%S+$')
  records[i], uses[i] = redis.call('HGET', KEYS[2], hash), redis.call('HGET', KEYS[3], hash)
end
return { records, uses }`,
);

/** KEYS: tokens, uses. ARGV: hash and time of each use. */
export const tokensUsedScript: string = checked(
  `local known = {}
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then known[#known + 1] = i end
end
for _, i in ipairs(known) do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end`,
);

/** KEYS: version. */
export const tokensVersionScript: string = checked("return redis.call('GET', KEYS[1])");

/** See `audit.lua`. */
export const appendAuditScript: string = checked(withPrelude(audit));

/** KEYS: audit log. ARGV: id before which, or -1; limit. */
export const auditScript: string = checked(
  `local newest = redis.call('LINDEX', KEYS[1], -1)
if not newest then return {} end
local before = tonumber(ARGV[1])
local skipped = before < 0 and 0 or math.max(0, string.match(newest, '^%d+') - before + 1)
return redis.call('LRANGE', KEYS[1], -skipped - ARGV[2], -skipped - 1)`,
);

/** See `set_labels.lua`. */
export const setLabelsScript: string = checked(withPrelude(setLabels));

/** KEYS: labels. ARGV: device ids. */
export const labelsScript: string = checked("return redis.call('HMGET', KEYS[1], unpack(ARGV))");

/** KEYS: notes. ARGV: device id. */
export const notesScript: string = checked("return redis.call('HGET', KEYS[1], ARGV[1])");

/** KEYS: labels. ARGV: cursor, how many at least. */
export const scanLabelsScript: string = checked(
  "return redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])",
);
/** KEYS: version, a hash of each kind. ARGV: the version that is known. */
export const alertDocumentsScript: string = checked(
  `local version = redis.call('GET', KEYS[1]) or ''
if version == ARGV[1] then return false end
local found = { version }
for i = 2, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end
return found`,
);

/** See `put_alerts.lua`. */
export const putAlertsScript: string = checked(withPrelude(putAlerts));

/** See `remove_alerts.lua`. */
export const removeAlertsScript: string = checked(withPrelude(removeAlerts));

/** KEYS: owner, version of the state. ARGV: who claims it, for how long, ms. */
export const claimAlertsScript: string = checked(
  `local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[2]) or ''`,
);

/** KEYS: version, a section. ARGV: the version that is known. */
export const alertStateScript: string = checked(
  `local version = redis.call('GET', KEYS[1]) or ''
if version == ARGV[1] then return false end
return { version, redis.call('HGETALL', KEYS[2]) }`,
);

/** KEYS: a section. ARGV: field. */
export const alertEntryScript: string = checked("return redis.call('HGET', KEYS[1], ARGV[1])");

/** See `alert_state.lua`. */
export const writeAlertsScript: string = checked(withPrelude(alertState));
