/**
 * The tables of a SQLite file, as the steps that led to them. A new file takes all steps, an older one those it
 * lacks, so both end up alike.
 *
 * All of them run in one transaction, so a crash leaves the file as it was. A process of this version that has the
 * file open notices at its next call that a newer one has upgraded it, and neither reads nor writes it from then on
 * (see `database.ts`). Tally of schema versions 1 to 3 from before that check: one of version 1 fails to write, as
 * its devices have fewer columns; one of version 2 works on beside this one, for version 3 only added tables.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";

/** Unix time in milliseconds, by SQLite's clock. */
export const unixNowMs = "CAST(1000 * unixepoch('subsec') AS INTEGER)";

/** The step at index n leads from version n to n + 1. Steps that were released are never changed. */
const steps: readonly (readonly string[])[] = [
  // 1: Counts, sessions and producers.
  [
    `CREATE TABLE devices (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL,
      first_seen_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL,
      timestamp_ms INTEGER NOT NULL,
      payload BLOB NOT NULL
    ) STRICT`,
    `CREATE TABLE sessions (
      session TEXT PRIMARY KEY,
      epoch INTEGER NOT NULL,
      committed INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT`,
    "CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms)",
    `CREATE TABLE producers (
      producer TEXT PRIMARY KEY,
      sequence INTEGER NOT NULL,
      expires_at_ms INTEGER NOT NULL
    ) STRICT`,
    "CREATE INDEX producers_by_expiry ON producers (expires_at_ms)",
  ],
  // 2: Histories, changes, events and instances.
  [
    "ALTER TABLE devices RENAME TO devices_of_version_1",
    `CREATE TABLE devices (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL,
      first_seen_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL,
      timestamp_ms INTEGER NOT NULL,
      online INTEGER NOT NULL,
      minute_packets INTEGER NOT NULL, -- in the minute of last_seen_ms
      hour_packets INTEGER NOT NULL,
      history BLOB, -- closed minutes and hours; see periods.ts
      payload BLOB NOT NULL
    ) STRICT`,
    `INSERT INTO devices
      SELECT device_id, count, first_seen_ms, last_seen_ms, timestamp_ms, 1, 0, 0, NULL, payload
      FROM devices_of_version_1`,
    "DROP TABLE devices_of_version_1",
    `CREATE TABLE fleet_history (
      period_ms INTEGER NOT NULL,
      start_ms INTEGER NOT NULL,
      packets INTEGER NOT NULL,
      PRIMARY KEY (period_ms, start_ms)
    ) STRICT, WITHOUT ROWID`,
    `CREATE TABLE changes (
      version INTEGER PRIMARY KEY,
      device_ids TEXT NOT NULL, -- JSON
      end_bytes INTEGER NOT NULL -- of this and all before it
    ) STRICT`,
    `CREATE TABLE events (
      id INTEGER PRIMARY KEY,
      kind TEXT NOT NULL,
      device_id TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      last_seen_ms INTEGER NOT NULL
    ) STRICT`,
    `CREATE TABLE delivery (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      owner TEXT NOT NULL,
      expires_at_ms INTEGER NOT NULL,
      event_id INTEGER NOT NULL
    ) STRICT`,
    `CREATE TABLE instances (
      instance TEXT PRIMARY KEY,
      reported_ms INTEGER NOT NULL,
      report TEXT NOT NULL -- JSON
    ) STRICT`,
  ],
  // 3: When the data began, which is not known of older files; counts that packets could not be added to.
  [
    `CREATE TABLE lineage (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      since_ms INTEGER NOT NULL -- when the data began, or was last found reverted; 0: unknown
    ) STRICT`,
    `CREATE TABLE set_aside (
      device_id TEXT PRIMARY KEY,
      count INTEGER NOT NULL
    ) STRICT`,
    "INSERT INTO lineage VALUES (1, 0)",
  ],
  // 4: Tokens, and who changed what.
  [
    `CREATE TABLE tokens (
      hash TEXT PRIMARY KEY, -- SHA-256, hexadecimal
      kind TEXT NOT NULL,
      id TEXT NOT NULL UNIQUE,
      subject TEXT NOT NULL,
      scopes TEXT NOT NULL, -- separated by spaces
      created_ms INTEGER NOT NULL,
      created_by TEXT NOT NULL,
      last_used_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`,
    "CREATE INDEX tokens_by_kind ON tokens (kind, id)",
    `CREATE TABLE tokens_version (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      version INTEGER NOT NULL -- Unix microseconds of the last change, never the same twice
    ) STRICT`,
    `INSERT INTO tokens_version VALUES (1, 1000 * ${unixNowMs})`,
    `CREATE TABLE audit (
      id INTEGER PRIMARY KEY,
      at_ms INTEGER NOT NULL,
      actor TEXT NOT NULL,
      action TEXT NOT NULL,
      target TEXT NOT NULL,
      detail TEXT NOT NULL
    ) STRICT`,
  ],
  // 5: Sessions of which nothing is stored yet, how many devices and sessions there are, and which devices of a
  // producer's last batch were refused.
  [
    "ALTER TABLE sessions ADD COLUMN stored INTEGER NOT NULL DEFAULT 1",
    "CREATE INDEX new_sessions_by_expiry ON sessions (expires_at_ms) WHERE stored = 0",
    "ALTER TABLE producers ADD COLUMN refused TEXT NOT NULL DEFAULT ''", // as in Redis: see producerKey
    `CREATE TABLE totals (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      devices INTEGER NOT NULL,
      sessions INTEGER NOT NULL,
      minute INTEGER NOT NULL, -- the latest in which devices were added
      new_devices INTEGER NOT NULL -- of that minute
    ) STRICT`,
    "INSERT INTO totals SELECT 1, (SELECT count(*) FROM devices), (SELECT count(*) FROM sessions), 0, 0",
    ...["devices", "sessions"].flatMap((table) => [
      `CREATE TRIGGER ${table}_added AFTER INSERT ON ${table}
        BEGIN UPDATE totals SET ${table} = ${table} + 1; END`,
      `CREATE TRIGGER ${table}_removed AFTER DELETE ON ${table}
        BEGIN UPDATE totals SET ${table} = ${table} - 1; END`,
    ]),
  ],
  // 6: How far the events of other shards were appended to those here.
  [
    `CREATE TABLE imports (
      source TEXT PRIMARY KEY,
      event_id INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`,
  ],
  // 7: Names, tags and notes.
  [
    `CREATE TABLE labels (
      device_id TEXT PRIMARY KEY, -- also of devices that have not been seen yet
      labels TEXT NOT NULL, -- name and tags: see model/labels.ts
      notes TEXT NOT NULL
    ) STRICT, WITHOUT ROWID`,
    `CREATE TABLE label_changes (
      version INTEGER PRIMARY KEY,
      device_ids TEXT NOT NULL, -- JSON
      end_bytes INTEGER NOT NULL -- of this and all before it
    ) STRICT`,
  ],
  // 8: The packet stream.
  [
    `CREATE TABLE packet_stream (
      id INTEGER PRIMARY KEY, -- without gaps
      device_id TEXT NOT NULL,
      received_ms INTEGER NOT NULL,
      packets BLOB NOT NULL -- PacketBatch of the proto
    ) STRICT`,
    "CREATE INDEX packet_stream_by_device ON packet_stream (device_id, id)",
  ],
  // 9: What devices measure.
  [
    `CREATE TABLE waiting_samples (
      id INTEGER PRIMARY KEY,
      kind TEXT NOT NULL, -- samples, or removed
      received_ms INTEGER NOT NULL,
      devices INTEGER NOT NULL,
      ids BLOB NOT NULL, -- each preceded by its length in one byte
      payloads BLOB NOT NULL -- each preceded by its length in 32 bits
    ) STRICT`,
    `CREATE TABLE sample_totals (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      bytes INTEGER NOT NULL, -- that wait
      dropped INTEGER NOT NULL -- samples, ever
    ) STRICT`,
    "INSERT INTO sample_totals VALUES (1, 0, 0)",
    `CREATE TABLE device_values (
      device_id TEXT PRIMARY KEY,
      record BLOB NOT NULL -- see value_record.ts
    ) STRICT`,
    `CREATE TABLE value_histories (
      device_id TEXT PRIMARY KEY,
      minutes BLOB, -- closed ones of all values; see value_blocks.ts
      hours BLOB
    ) STRICT`,
    `CREATE TABLE value_feed (
      serial INTEGER PRIMARY KEY,
      device_ids TEXT NOT NULL, -- JSON
      end_bytes INTEGER NOT NULL -- of this and all before it
    ) STRICT`,
  ],
  // 10: Rules of alerts, and their state.
  [
    `CREATE TABLE alerts (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      documents_version INTEGER NOT NULL, -- Unix microseconds of the last change, never the same twice
      state_version INTEGER NOT NULL,
      owner TEXT NOT NULL, -- of the lease to write the state
      expires_at_ms INTEGER NOT NULL
    ) STRICT`,
    "INSERT INTO alerts VALUES (1, 0, 0, '', 0)",
    `CREATE TABLE alert_documents (
      kind TEXT NOT NULL,
      id TEXT NOT NULL,
      version INTEGER NOT NULL,
      body TEXT NOT NULL, -- JSON
      PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID`,
    `CREATE TABLE alert_state (
      section TEXT NOT NULL,
      field TEXT NOT NULL,
      body TEXT NOT NULL, -- JSON
      PRIMARY KEY (section, field)
    ) STRICT, WITHOUT ROWID`,
  ],
  // 11: Logs of batches that are counted later, see log_tables.ts, and which rows of devices were removed.
  [
    `CREATE TABLE segment_logs (
      log INTEGER PRIMARY KEY AUTOINCREMENT,
      owner TEXT NOT NULL,
      committed INTEGER NOT NULL,
      merged INTEGER NOT NULL,
      merging_to INTEGER NOT NULL,
      parts INTEGER NOT NULL,
      since_ms INTEGER NOT NULL -- when the oldest packets in it were received
    ) STRICT`,
    `CREATE TABLE segments (
      log INTEGER NOT NULL,
      number INTEGER NOT NULL, -- 1, 2, 3, … in its log
      received_ms INTEGER NOT NULL,
      deltas BLOB NOT NULL, -- see packed_deltas.ts
      PRIMARY KEY (log, number)
    ) STRICT`,
    `CREATE TABLE merged_parts (
      log INTEGER NOT NULL,
      part INTEGER NOT NULL,
      entries BLOB NOT NULL, -- numbers of 32 bits, little-endian
      PRIMARY KEY (log, part)
    ) STRICT`,
    `CREATE TABLE removed_rows (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      row INTEGER NOT NULL
    ) STRICT`,
    `CREATE TRIGGER device_row_removed AFTER DELETE ON devices
      BEGIN INSERT INTO removed_rows (row) VALUES (old.rowid); END`,
  ],
];

/** Version of the tables that this program reads and writes; SQLite keeps it in the file's header. */
export const SCHEMA_VERSION: number = steps.length;

function readSchemaVersion(db: DatabaseSync): number {
  return (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
}

/** What to throw when a file has another version. */
export function wrongVersion(found: number): Error {
  return new Error(
    `it has schema version ${found}, this program supports ${SCHEMA_VERSION}: ` +
      `use the Tally that wrote it, or a newer one, or another file`,
  );
}

/** Brings the tables to this program's version; throws when the file has a newer one. Call it in a transaction. */
export function migrate(db: DatabaseSync): void {
  const found = readSchemaVersion(db);
  if (found === SCHEMA_VERSION) return;
  if (found > SCHEMA_VERSION) throw wrongVersion(found);
  for (const statements of steps.slice(found)) {
    for (const sql of statements) db.exec(sql);
  }
  if (found === 0) db.exec(`UPDATE lineage SET since_ms = ${unixNowMs}`);
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}
