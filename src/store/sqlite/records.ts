/**
 * Rows of devices, as several parts of the store read them.
 *
 * @module
 */
import { type ClosedPeriods, type CurrentPeriods, decodeHistory, noPeriods } from "../model/periods.ts";

/** A column that is a whole number from 0 to 2^53 - 1, or else its text: the driver refuses to read greater ones. */
export const countColumn = `iif(count BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}, count, CAST(count AS TEXT))`;

/** How long before `nowMs` the oldest packets were received that are still in a log: so much less silence is certain. */
export function lagSql(nowMs: string): string {
  return `max(0, coalesce(${nowMs} - (SELECT min(since_ms) FROM segment_logs), 0))`;
}

const recordColumns = `
  SELECT rowid AS row, ${countColumn} AS count, last_seen_ms AS lastSeenMs, online,
    minute_packets AS minutePackets, hour_packets AS hourPackets, history
  FROM devices`;

/** Returns a {@linkcode RecordRow}. */
export const readRecordSql = `${recordColumns} WHERE device_id = ?`;

/** The same, given its row and id; nothing if the row is that of another device. Saves the look-up by id. */
export const readRecordInRowSql = `${recordColumns} WHERE rowid = ? AND device_id = ?`;

/** What a packet changes in a device, except its timestamp and payload. */
export interface RecordRow extends CurrentPeriods {
  /** Finds the row faster than the device's id. */
  readonly row: number;
  /** Packets counted; text if another program wrote a value that is no count. */
  readonly count: number | string;
  /** 1 if it is online. */
  readonly online: number;
  /** As `periods.ts` encodes it; null until the first minute is over. */
  readonly history: Uint8Array | null;
}

/** The closed periods of a device. */
export function closedPeriodsOf({ history }: RecordRow): ClosedPeriods {
  return history === null ? noPeriods : decodeHistory(history);
}
