/**
 * Names of Tally's keys in Redis. All share the hash tag `{device_metrics}`, so that a Redis Cluster
 * keeps whatever one script touches in one slot.
 *
 * @module
 */
import type { PeriodKind } from "../model/periods.ts";

/** HASH device id → packets counted, in plain decimal. Other programs read this one. */
export const countsKey = "device_metrics";

/** STRING `LAYOUT_VERSION` of the program that wrote all other keys, or upgraded them; checked by every script. */
export const layoutKey = "tally:{device_metrics}:layout";

/** HASH device id → its record, followed by a short payload: `recordLayout`. */
export const recordsKey = "tally:{device_metrics}:records";

/** HASH device id → latest payload, as received, of devices whose latest is longer than `SHORT_PAYLOAD_BYTES`. */
export const payloadsKey = "tally:{device_metrics}:payloads";

/** HASH device id → packets of its closed minutes and hours: `historyHead`, see `periods.ts`. */
export const historiesKey = "tally:{device_metrics}:histories";

/** STRING packets that were counted for devices removed since, in plain decimal. */
export const removedKey = "tally:{device_metrics}:removed";

/** HASH device id → what another program wrote as its count, of devices whose count could not be added to. */
export const setAsideKey = "tally:{device_metrics}:set-aside";

/** STRING `<began> <reverted>`: when the data began and when it was last found reverted, Unix ms; 0: unknown, never. */
export const lineageKey = "tally:{device_metrics}:lineage";

/** Never exists after a script: scripts check on it which commands they may run. */
export const nothingKey = "tally:{device_metrics}:nothing";

/** HASH device id → record and payload as text, in layout 1: `upgrade.lua` empties it. */
export const textRecordsKey = "tally:{device_metrics}:devices";

/** STRING `<version> <bytes>`: version of the newest entry of {@linkcode changesKey}, and the list's length in bytes. */
export const versionKey = "tally:{device_metrics}:version";

/** LIST of changed devices, one entry per version, newest last: `versionHead` and `changesHead`. */
export const changesKey = "tally:{device_metrics}:changes";

/** LIST of `<id> online|offline <at> <last seen> <device id>`, newest last. */
export const eventsKey = "tally:{device_metrics}:events";

/** STRING owner of the lease to deliver events; expires with it. */
export const deliveryOwnerKey = "tally:{device_metrics}:delivery:owner";

/** STRING id of the last event delivered. */
export const deliveredKey = "tally:{device_metrics}:delivery:event";

/** HASH instance → `<reported, Unix ms> <report as JSON>`. */
export const instancesKey = "tally:{device_metrics}:instances";

/** HASH SHA-256 of a token → its record as JSON. */
export const tokensKey = "tally:{device_metrics}:tokens";

/** ZSET `<kind> <id> <SHA-256>` of each token, all with score 0: in the order of their ids. */
export const tokenIdsKey = "tally:{device_metrics}:token-ids";

/** HASH SHA-256 of a token → when it was used last, Unix ms. */
export const tokenUsesKey = "tally:{device_metrics}:token-uses";

/** STRING Unix time in microseconds, never the same twice, of the last change of tokens. */
export const tokensVersionKey = "tally:{device_metrics}:tokens-version";

/** LIST of `<id> <entry as JSON>`, newest last. */
export const auditKey = "tally:{device_metrics}:audit";

/** STRING written to check that the server accepts writes; expires at once. */
export const probeKey = "tally:{device_metrics}:probe";

/** STRING `<minute since 1970> <devices>`: devices that were added in the latest minute in which one was. */
export const newDevicesKey = "tally:{device_metrics}:new-devices";

/** LIST of sessions by their names, each where there is still a key for it, and some that have expired. */
export const sessionsKey = "tally:{device_metrics}:sessions";

/** STRING `<epoch> <committed>` of one session; expires when unused. */
export function sessionKey(session: string): string {
  return `tally:{device_metrics}:session:${session}`;
}

/**
 * STRING last sequence applied of one producer; expires when unused. After it, separated by spaces, the limit that
 * refused devices of that batch, and their indexes in it, if one did.
 */
export function producerKey(producer: string): string {
  return `tally:{device_metrics}:producer:${producer}`;
}

/**
 * HASH number of the period since 1970 → packets of all devices; expires when it is over. The seconds of
 * one minute share a key, the minutes of one hour, the hours of one day.
 */
export function fleetKey(period: PeriodKind["name"], atMs: number): string {
  return `tally:{device_metrics}:fleet:${period}:${Math.floor(atMs / fleetKeySpansMs[period])}`;
}

/** The time one {@linkcode fleetKey} spans. */
export const fleetKeySpansMs: Readonly<Record<PeriodKind["name"], number>> = {
  second: 60_000,
  minute: 3_600_000,
  hour: 24 * 3_600_000,
};
