/**
 * What batches and logs add to rows of devices; the same as `addToCounts()` and `addToRecords()` of `devices.lua`.
 *
 * @module
 */
import { CLOCK_AHEAD_MS } from "../devices.ts";
import type { ForeignCounts } from "../model/foreign_counts.ts";
import { closePeriods, encodeHistory, HOUR_MS, MINUTE_MS, startOf } from "../model/periods.ts";
import { DEVICE_CLOCK_AHEAD_MS, type DeviceDelta } from "../packets.ts";
import type { Database } from "./database.ts";
import type { AddEvent } from "./events.ts";
import { closedPeriodsOf, readRecordInRowSql, readRecordSql, type RecordRow } from "./records.ts";

/** On the right-hand sides a column is the row as it was. A timestamp after `latest` is wrong: any other replaces it. */
const newest = (column: string, value: string, latest: string) =>
  `iif(?6 >= timestamp_ms OR timestamp_ms > ${latest}, ${value}, ${column})`;

const queries = {
  read: readRecordSql,
  readInRow: readRecordInRowSql,
  insert: "INSERT INTO devices VALUES (?, ?, ?, ?, ?, 1, ?, ?, NULL, ?)",
  update: `
    UPDATE devices SET
      count = ?1,
      last_seen_ms = ?2,
      online = ?3,
      minute_packets = ?4,
      hour_packets = ?5,
      timestamp_ms = ${newest("timestamp_ms", "?6", "?10")},
      history = ?7,
      payload = ${newest("payload", "?8", "?10")}
    WHERE rowid = ?9`,
  // The most frequent update, without reading: the device is online, and goes on in the minute of its last packet. The id
  // is compared because another program may have given the row another number.
  addWithinMinute: `
    UPDATE devices SET
      count = count + ?1,
      last_seen_ms = ?2,
      minute_packets = minute_packets + ?1,
      hour_packets = hour_packets + ?1,
      timestamp_ms = ${newest("timestamp_ms", "?6", `?2 + ${DEVICE_CLOCK_AHEAD_MS}`)},
      payload = ${newest("payload", "?5", `?2 + ${DEVICE_CLOCK_AHEAD_MS}`)}
    WHERE rowid = ?3 AND device_id = ?4 AND online = 1 AND last_seen_ms BETWEEN ?7 AND ?2
      AND count BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER} - ?1`,
  setAside: "INSERT OR REPLACE INTO set_aside SELECT device_id, count FROM devices WHERE rowid = ?",
};

/** What it takes to add to devices. */
export interface DeviceWriterParts {
  /** Receives devices that come back online. */
  readonly addEvent: AddEvent;
  /** Receives counts of other programs that are set aside. */
  readonly foreign: ForeignCounts;
}

/** Adds to rows, in the caller's transaction. */
export class DeviceWriter {
  readonly #statements;
  readonly #addEvent: AddEvent;
  readonly #foreign: ForeignCounts;
  /** The device before was not online or not in the same minute: those after it probably are not either. */
  #reads = false;

  /** Prepares the statements. */
  constructor(database: Database, { addEvent, foreign }: DeviceWriterParts) {
    this.#statements = database.prepare(queries);
    this.#addEvent = addEvent;
    this.#foreign = foreign;
  }

  /**
   * Adds what was received of the device of this id at `receivedAtMs`. `row`: that of the device, if it is known, or 0.
   * Returns its row; 0 if the device is new, and `insert` returned false.
   */
  add(
    delta: DeviceDelta,
    deviceId: string,
    receivedAtMs: number,
    row: number,
    insert: () => boolean,
  ): number {
    if (row > 0 && !this.#reads && this.#addWithinMinute(delta, deviceId, receivedAtMs, row)) return row;
    const { read, readInRow } = this.#statements;
    const inRow = row > 0 ? readInRow.get(row, deviceId) : undefined;
    const old = (inRow ?? read.get(deviceId)) as RecordRow | undefined;
    if (old !== undefined) {
      this.#update(delta, deviceId, receivedAtMs, old);
      return old.row;
    }
    if (!insert()) return 0;
    const { packets, timestampMs, payload } = delta;
    const { lastInsertRowid } = this.#statements.insert.run(
      ...[deviceId, packets, receivedAtMs, receivedAtMs, timestampMs, packets, packets, payload],
    );
    return Number(lastInsertRowid);
  }

  #addWithinMinute(
    { packets, timestampMs, payload }: DeviceDelta,
    deviceId: string,
    receivedAtMs: number,
    row: number,
  ): boolean {
    const minuteMs = startOf(MINUTE_MS, receivedAtMs);
    const { changes } = this.#statements.addWithinMinute.run(
      packets,
      receivedAtMs,
      row,
      deviceId,
      payload,
      timestampMs,
      minuteMs,
    );
    this.#reads = changes !== 1;
    return !this.#reads;
  }

  #update(
    { packets, timestampMs, payload }: DeviceDelta,
    deviceId: string,
    receivedAtMs: number,
    old: RecordRow,
  ): void {
    const count = this.#countOf(deviceId, old, packets);
    const { lastSeenMs } = old;
    let { minutePackets, hourPackets, online, history } = old;
    // A last seen ahead of that was written before the clock was set back.
    const isAhead = lastSeenMs > Math.max(receivedAtMs, Date.now()) + CLOCK_AHEAD_MS;
    const isSameMinute = startOf(MINUTE_MS, receivedAtMs) === startOf(MINUTE_MS, lastSeenMs);
    this.#reads = online === 0 || !isSameMinute || receivedAtMs < lastSeenMs;
    if (receivedAtMs > lastSeenMs || isAhead) {
      if (online === 0) {
        this.#addEvent("online", deviceId, receivedAtMs, Math.min(lastSeenMs, receivedAtMs));
      }
      online = 1;
      if (startOf(MINUTE_MS, receivedAtMs) > startOf(MINUTE_MS, lastSeenMs)) {
        history = encodeHistory(closePeriods(closedPeriodsOf(old), old, receivedAtMs));
        minutePackets = 0;
        if (startOf(HOUR_MS, receivedAtMs) > startOf(HOUR_MS, lastSeenMs)) hourPackets = 0;
      }
    }
    this.#statements.update.run(
      count + packets,
      isAhead ? receivedAtMs : Math.max(lastSeenMs, receivedAtMs),
      online,
      minutePackets + packets,
      hourPackets + packets,
      timestampMs,
      history,
      payload,
      old.row,
      Math.max(lastSeenMs, receivedAtMs) + DEVICE_CLOCK_AHEAD_MS,
    );
  }

  /** What packets are to be added to. */
  #countOf(deviceId: string, { row, count }: RecordRow, packets: number): number {
    if (typeof count === "number" && count + packets <= Number.MAX_SAFE_INTEGER) return count;
    this.#statements.setAside.run(row);
    this.#foreign.setAside(deviceId, String(count), "table set_aside");
    return 0;
  }
}
