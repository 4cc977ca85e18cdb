/**
 * What the SQLite file holds, and the statements on it.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";

import { type ClosedPeriods, type CurrentPeriods, decodeHistory, noPeriods } from "../model/periods.ts";
import type { DeviceSummary, PayloadPreview } from "../devices.ts";

/** Kept in the file; another number means tables this program does not know. */
const SCHEMA_VERSION = 3;

/** Unix time in milliseconds, by SQLite's clock. */
const nowMs = "CAST(1000 * unixepoch('subsec') AS INTEGER)";

/** Tables that files of version 2 are given. */
const tablesSince3 = `
    CREATE TABLE lineage (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      since_ms INTEGER NOT NULL -- when the data began, or was last found to have gone back; 0: unknown
    ) STRICT;
    CREATE TABLE set_aside ( -- counts that packets could not be added to
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL
    ) STRICT;`;

/** Makes the tables of a new file, adds those that one of version 2 lacks; throws when the file has others. Call it in a transaction. */
export function createTables(db: DatabaseSync): void {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (version === SCHEMA_VERSION) return;
  if (version === 2) {
    db.exec(`${tablesSince3} INSERT INTO lineage VALUES (1, 0); PRAGMA user_version = ${SCHEMA_VERSION}`);
    return;
  }
  if (version !== 0) {
    throw new Error(
      `it has schema version ${version}, this program knows ${SCHEMA_VERSION}: ` +
        `use the program that wrote it, or another file`,
    );
  }
  db.exec(`
    CREATE TABLE devices (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL,
      first_seen_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL,
      timestamp_ms INTEGER NOT NULL,
      online INTEGER NOT NULL,
      minute_packets INTEGER NOT NULL, -- of the minute of last_seen_ms
      hour_packets INTEGER NOT NULL,
      history BLOB, -- minutes and hours before that; see history.ts
      payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE fleet_history (
      period_ms INTEGER NOT NULL,
      start_ms INTEGER NOT NULL,
      packets INTEGER NOT NULL,
      PRIMARY KEY (period_ms, start_ms)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE changes (
      version INTEGER PRIMARY KEY,
      device_ids TEXT NOT NULL, -- JSON
      end_bytes INTEGER NOT NULL -- of this and all before it
    ) STRICT;
    CREATE TABLE events (
      id INTEGER PRIMARY KEY,
      kind TEXT NOT NULL,
      device_id TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE delivery (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      owner TEXT NOT NULL,
      expires_at_ms INTEGER NOT NULL,
      event_id INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE instances (
      instance TEXT PRIMARY KEY,
      reported_ms INTEGER NOT NULL,
      report TEXT NOT NULL -- JSON
    ) STRICT;
    CREATE TABLE sessions (
      session TEXT PRIMARY KEY,
      epoch INTEGER NOT NULL,
      committed INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);
    CREATE TABLE producers (
      producer TEXT PRIMARY KEY,
      sequence INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX producers_by_expiry ON producers (expires_at_ms);
    ${tablesSince3}
    INSERT INTO lineage VALUES (1, ${nowMs});
    PRAGMA user_version = ${SCHEMA_VERSION};
  `);
}

/** Devices read in one statement: none stays open between pages, so the log can be checkpointed. */
const PAGE_DEVICES = 1000;

/** All pages. `read`: the page behind this device, or the first one. */
export async function* pages(
  read: (after?: string) => Promise<readonly DeviceSummary[]>,
): AsyncGenerator<readonly DeviceSummary[]> {
  let page = await read();
  while (page.length > 0) {
    yield page;
    page = page.length < PAGE_DEVICES ? [] : await read(page.at(-1)!.deviceId);
  }
}

/** Expired rows of a table that are deleted at a time. */
const CLEAN_UP_ROWS = 1000;

/** A session that has not expired. */
export interface SessionRow {
  /** Raised by each claim. */
  readonly epoch: number;
  /** Packets settled. */
  readonly committed: number;
}

/** What a packet changes in a device, besides its count, timestamp and payload. */
export interface RecordRow extends CurrentPeriods {
  /** Finds the row again faster than the device's id. */
  readonly row: number;
  /** Packets counted; the text of what another program wrote and is no count. */
  readonly count: number | string;
  /** 1 if it is. */
  readonly online: number;
  /** As `history.ts` encodes it; null until the first minute is over. */
  readonly history: Uint8Array | null;
}

/** Packets of all devices in one period. */
export interface FleetRow {
  /** How long it is. */
  readonly period_ms: number;
  /** When it begins. */
  readonly start_ms: number;
  /** Counted in it. */
  readonly packets: number;
}

/** See the table. */
export interface LineageRow {
  /** When the data began, or was last found to have gone back. */
  readonly sinceMs: number;
  /** By SQLite's clock too. */
  readonly nowMs: number;
}

/** The periods of a device that are over. */
export function closedPeriodsOf({ history }: RecordRow): ClosedPeriods {
  return history === null ? noPeriods : decodeHistory(history);
}

/**
 * Rows of `firstSummaries`, `nextSummaries` or `readSummaries`, which are arrays; without those whose count
 * another program wrote and is none, which `onForeign` gets.
 */
export function toSummaries(
  rows: readonly unknown[],
  onForeign: (deviceId: string, value: string) => void,
): DeviceSummary[] {
  return (rows as [string, number | string, number, number, number, number][]).flatMap(
    ([deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online]) => {
      if (typeof count === "number") {
        return [{ deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online: online === 1 }];
      }
      onForeign(deviceId, count);
      return [];
    },
  );
}

/** Rows of `readPayloads`, which are arrays. */
export function toPreviews(rows: readonly unknown[]): Map<string, PayloadPreview> {
  return new Map(
    (rows as [string, Uint8Array, number][]).map((
      [deviceId, bytes, totalBytes],
    ) => [deviceId, { bytes, totalBytes }]),
  );
}

/** A column that is a whole number from 0 to 2^53 - 1, or else its text: the driver refuses to read greater ones. */
const count = `iif(count BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}, count, CAST(count AS TEXT))`;

const summaries =
  `SELECT device_id, ${count}, first_seen_ms, last_seen_ms, timestamp_ms, online FROM devices`;
const page = `ORDER BY device_id LIMIT ${PAGE_DEVICES}`;
/** No claim of the delivery lasts longer; one that seems to was made before the clock was set back. */
const CLAIM_MAX_MS = 60_000;

const event = "SELECT id, kind, device_id AS deviceId, at_ms AS atMs, last_seen_ms AS lastSeenMs FROM events";

/** SQL by the names the store's code uses. */
export const statements = {
  readSession: "SELECT epoch, committed FROM sessions WHERE session = ? AND expires_at_ms > ?",
  writeSession: "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)",
  readSequence: "SELECT sequence FROM producers WHERE producer = ? AND expires_at_ms > ?",
  writeSequence: "INSERT OR REPLACE INTO producers VALUES (?, ?, ?)",
  readRecord: `
      SELECT rowid AS row, ${count} AS count, last_seen_ms AS lastSeenMs, online, minute_packets AS minutePackets,
        hour_packets AS hourPackets, history
      FROM devices WHERE device_id = ?`,
  insertDevice: "INSERT INTO devices VALUES (?, ?, ?, ?, ?, 1, ?, ?, NULL, ?)",
  // On the right-hand sides a column is the row as it was. A timestamp after ?10 is wrong: any other replaces it.
  updateDevice: `
      UPDATE devices SET
        count = ?1,
        last_seen_ms = ?2,
        online = ?3,
        minute_packets = ?4,
        hour_packets = ?5,
        timestamp_ms = iif(?6 >= timestamp_ms OR timestamp_ms > ?10, ?6, timestamp_ms),
        history = ?7,
        payload = iif(?6 >= timestamp_ms OR timestamp_ms > ?10, ?8, payload)
      WHERE rowid = ?9`,
  setOffline: "UPDATE devices SET online = 0 WHERE device_id = ?",
  firstSummaries: `${summaries} ${page}`,
  nextSummaries: `${summaries} WHERE device_id > ? ${page}`,
  readSummaries: `${summaries} WHERE device_id IN (SELECT value FROM json_each(?))`,
  readDevice: `
      SELECT device_id AS deviceId, ${count} AS count, first_seen_ms AS firstSeenMs, last_seen_ms AS lastSeenMs,
        timestamp_ms AS timestampMs, online, payload
      FROM devices WHERE device_id = ?`,
  readPayloads: `
      SELECT device_id, coalesce(substr(payload, 1, ?), x''), length(payload)
      FROM devices WHERE device_id IN (SELECT value FROM json_each(?))`,
  addToFleet: `
      INSERT INTO fleet_history VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET packets = packets + excluded.packets`,
  // A period of no length: outside of every history, and never expired. What is no count was never counted.
  addToRemoved: `
      INSERT INTO fleet_history
      SELECT 0, 0, count FROM devices
      WHERE device_id = ? AND count BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}
      ON CONFLICT DO UPDATE SET packets = packets + excluded.packets`,
  readRemoved: "SELECT packets FROM fleet_history WHERE period_ms = 0",
  readFleet: "SELECT period_ms, start_ms, packets FROM fleet_history",
  trimFleet: "DELETE FROM fleet_history WHERE start_ms > ?",
  expireFleet: "DELETE FROM fleet_history WHERE period_ms = ? AND start_ms < ?",
  // A version is the time in microseconds, or one more than the last: a file that was replaced by an older one
  // never uses one twice.
  addChange: `
      INSERT INTO changes
      SELECT max(coalesce(max(version), 0) + 1, 1000 * ${nowMs}), ?,
        coalesce(max(end_bytes), 0) + length(?) + 32
      FROM changes
      RETURNING end_bytes AS endBytes`,
  trimChanges: "DELETE FROM changes WHERE end_bytes <= ?",
  readVersion: "SELECT coalesce(max(version), 0) AS version FROM changes",
  hasVersion: "SELECT 1 FROM changes WHERE version = ?",
  readChanges: "SELECT device_ids FROM changes WHERE version > ? ORDER BY version",
  setAside: "INSERT OR REPLACE INTO set_aside SELECT device_id, count FROM devices WHERE rowid = ?",
  readLineage: `SELECT since_ms AS sinceMs, ${nowMs} AS nowMs FROM lineage`,
  writeReverted: `UPDATE lineage SET since_ms = ${nowMs}`,
  addEvent: "INSERT INTO events (kind, device_id, at_ms, last_seen_ms) VALUES (?, ?, ?, ?)",
  trimEvents: "DELETE FROM events WHERE id <= ?",
  readEvents: `${event} WHERE id > ? ORDER BY id LIMIT ?`,
  readNewestEvents: `SELECT * FROM (${event} ORDER BY id DESC LIMIT ?) ORDER BY id`,
  claimDelivery: `
      INSERT INTO delivery SELECT 1, ?1, ?2, coalesce(max(id), 0) FROM events WHERE true
      ON CONFLICT DO UPDATE SET owner = ?1, expires_at_ms = ?2 WHERE owner = ?1 OR expires_at_ms NOT BETWEEN ?3 + 1 AND ?3 + ${CLAIM_MAX_MS}
      RETURNING event_id AS eventId`,
  commitDelivery: "UPDATE delivery SET event_id = ? WHERE owner = ? AND expires_at_ms > ?",
  writeInstance: "INSERT OR REPLACE INTO instances VALUES (?, ?, ?)",
  expireInstances: "DELETE FROM instances WHERE abs(reported_ms - ?) > ?",
  removeInstance: "DELETE FROM instances WHERE instance = ?",
  readInstances: "SELECT report FROM instances",
  removeDevice: "DELETE FROM devices WHERE device_id = ?",
  readNewestExpiry: `
      SELECT max(expires_at_ms) AS newestExpiryMs FROM (
        SELECT max(expires_at_ms) AS expires_at_ms FROM sessions
        UNION ALL SELECT max(expires_at_ms) FROM producers)`,
  expireSessions: expire("sessions"),
  expireProducers: expire("producers"),
};

function expire(table: string): string {
  return `DELETE FROM ${table} WHERE rowid IN
    (SELECT rowid FROM ${table} WHERE expires_at_ms <= ? LIMIT ${CLEAN_UP_ROWS})`;
}

/** Prepared for one connection. */
export type Statements = Readonly<Record<keyof typeof statements, StatementSync>>;

/** Their rows are arrays: the driver makes them in half the time it takes for objects. */
const ofManyRows: readonly (keyof Statements)[] = [
  "firstSummaries",
  "nextSummaries",
  "readSummaries",
  "readPayloads",
];

/** The method is not among the types that Deno 2.9 comes with. */
type ReturnsArrays = StatementSync & { setReturnArrays(enabled: boolean): void };

/** Prepares all of them. */
export function prepare(db: DatabaseSync): Statements {
  const entries = Object.entries(statements).map(([name, sql]) => [name, db.prepare(sql)]);
  const prepared = Object.fromEntries(entries) as Statements;
  for (const name of ofManyRows) (prepared[name] as ReturnsArrays).setReturnArrays(true);
  return prepared;
}
