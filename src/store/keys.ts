/**
 * Names of Tally's keys in Redis. All share the hash tag `{device_metrics}`, so that a Redis Cluster
 * keeps whatever one script touches in one slot.
 *
 * @module
 */

/** HASH device id → packets counted, in plain decimal. Other programs read this one. */
export const countsKey = "device_metrics";

/** HASH device id → `<firstSeenMs> <lastSeenMs> <timestampMs> <payload>`; the payload is raw bytes. */
export const devicesKey = "tally:{device_metrics}:devices";

/** STRING written when the store is asked whether it takes writes; expires at once. */
export const probeKey = "tally:{device_metrics}:probe";

/** STRING `<epoch> <committed>` of one session; expires when unused. */
export function sessionKey(session: string): string {
  return `tally:{device_metrics}:session:${session}`;
}

/** STRING last sequence applied of one producer; expires when unused. */
export function producerKey(producer: string): string {
  return `tally:{device_metrics}:producer:${producer}`;
}
