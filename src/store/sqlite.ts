/**
 * Counts in a SQLite file that several processes may share; the only file that knows SQLite.
 *
 * The driver is synchronous, so no statement may wait for another process's lock: the busy timeout is
 * zero, and a transaction that cannot begin is tried again later without holding up the event loop.
 *
 * @module
 */
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

import {
  type AckAfter,
  type Batch,
  type DeviceCount,
  type DeviceState,
  type DeviceSummary,
  type FencedSessions,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionClaim,
  type Store,
  StoreError,
} from "./store.ts";

/** Where the file is, and how it is used. */
export interface SqliteStoreOptions {
  /** Made if it is missing, with its folder. */
  readonly path: string;
  /** `replicated` is refused: a file has no replicas. */
  readonly ackAfter: AckAfter;
  /** How long a method waits for another process's transaction before it rejects; 1,000 by default. */
  readonly lockTimeoutMs?: number;
}

/**
 * A store in the SQLite file at `path`.
 *
 * @throws {StoreError} The file cannot be opened or made, or `ackAfter` asks for replicas.
 */
export async function openSqliteStore(
  { path, ackAfter, lockTimeoutMs = 1000 }: SqliteStoreOptions,
): Promise<Store> {
  const file = resolve(path);
  if (ackAfter.kind === "replicated") {
    throw new StoreError(
      `could not open SQLite file ${file}: acknowledging after replication needs Redis: ` +
        `choose "stored" or "synced", or configure Redis`,
    );
  }
  const db = await openFile(file);
  try {
    // In WAL mode NORMAL survives the end of the process; FULL, one sync per commit, a power cut too.
    const synchronous = ackAfter.kind === "synced" ? "FULL" : "NORMAL";
    await whenUnlocked(
      db,
      lockTimeoutMs,
      () => db.exec("PRAGMA journal_mode = WAL"),
      () => db.exec(`PRAGMA synchronous = ${synchronous}`),
    );
    await transaction(db, lockTimeoutMs, () => createTables(db));
    return new SqliteStore(db, file, lockTimeoutMs);
  } catch (error) {
    db.close();
    throw failure("open", file, error);
  }
}

async function openFile(file: string): Promise<DatabaseSync> {
  try {
    await mkdir(dirname(file), { recursive: true });
    return new DatabaseSync(file, { timeout: 0 });
  } catch (error) {
    throw failure("open", file, error);
  }
}

/** Kept in the file; another number means tables this program does not know. */
const SCHEMA_VERSION = 1;

function createTables(db: DatabaseSync): void {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (version === SCHEMA_VERSION) return;
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
      payload BLOB NOT NULL
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
    PRAGMA user_version = ${SCHEMA_VERSION};
  `);
}

/** Devices read in one statement: none stays open between pages, so the log can be checkpointed. */
const PAGE_DEVICES = 1000;

/** Expired rows are deleted at most this often and this many of a table at a time. */
const CLEAN_UP_INTERVAL_MS = 1000;
const CLEAN_UP_ROWS = 1000;

class SqliteStore implements Store {
  readonly description: string;
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #lockTimeoutMs: number;
  readonly #statements: ReturnType<typeof prepare>;
  #cleanedUpAtMs = 0;

  constructor(db: DatabaseSync, file: string, lockTimeoutMs: number) {
    this.description = `SQLite file ${file}`;
    this.#db = db;
    this.#file = file;
    this.#lockTimeoutMs = lockTimeoutMs;
    this.#statements = prepare(db);
  }

  async ping(): Promise<void> {
    await this.#write("write to", () => {});
  }

  claimSession(session: string, offset: number, nowMs: number): Promise<SessionClaim> {
    const { readSession, writeSession } = this.#statements;
    return this.#write<SessionClaim>(`claim session ${session} in`, () => {
      const known = readSession.get(session, nowMs) as SessionRow | undefined;
      const committed = known?.committed ?? offset;
      if (offset > committed) return { outcome: "gap", committed };
      const epoch = (known?.epoch ?? 0) + 1;
      writeSession.run(session, epoch, committed, nowMs + SESSION_EXPIRY_MS);
      return { outcome: "claimed", epoch, committed };
    });
  }

  apply(batch: Batch): Promise<FencedSessions> {
    const { producer, sequence, receivedAtMs, devices, sessions } = batch;
    const { readSequence, writeSequence, readSession, writeSession, addToDevice } = this.#statements;
    const attempt = `apply a batch of ${devices.length} devices and ${sessions.length} sessions to`;
    return this.#write<FencedSessions>(attempt, () => {
      const applied = readSequence.get(producer, receivedAtMs) as { sequence: number } | undefined;
      if (applied !== undefined && sequence <= applied.sequence) {
        writeSequence.run(producer, applied.sequence, receivedAtMs + PRODUCER_EXPIRY_MS);
        return [];
      }
      const fenced = sessions.filter(({ session, epoch, from }) => {
        const known = readSession.get(session, receivedAtMs) as SessionRow | undefined;
        return known?.epoch !== epoch || known.committed !== from;
      });
      if (fenced.length > 0) return fenced.map(({ session }) => session);

      for (const { deviceId, packets, timestampMs, payload } of devices) {
        addToDevice.run(deviceId, packets, receivedAtMs, receivedAtMs, timestampMs, payload);
      }
      for (const { session, epoch, to } of sessions) {
        writeSession.run(session, epoch, to, receivedAtMs + SESSION_EXPIRY_MS);
      }
      writeSequence.run(producer, sequence, receivedAtMs + PRODUCER_EXPIRY_MS);
      this.#cleanUp(receivedAtMs);
      return [];
    });
  }

  // CONTRACT STUBS
  async *scan(): AsyncGenerator<readonly DeviceSummary[]> {
    for await (const page of this.counts()) {
      yield page.map((c) => ({ ...c, firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true }));
    }
  }
  summaries(): Promise<never> {
    throw new Error("soon");
  }
  changes(): Promise<never> {
    throw new Error("soon");
  }
  payloads(): Promise<never> {
    throw new Error("soon");
  }
  history(): Promise<never> {
    throw new Error("soon");
  }
  fleetHistory(): Promise<never> {
    throw new Error("soon");
  }
  markOffline(): Promise<never> {
    throw new Error("soon");
  }
  events(): Promise<never> {
    throw new Error("soon");
  }
  claimDelivery(): Promise<never> {
    throw new Error("soon");
  }
  commitDelivery(): Promise<never> {
    throw new Error("soon");
  }
  reportInstance(): Promise<never> {
    throw new Error("soon");
  }
  removeInstance(): Promise<never> {
    throw new Error("soon");
  }
  instances(): Promise<never> {
    throw new Error("soon");
  }

  async *counts(): AsyncGenerator<readonly DeviceCount[]> {
    let page = this.#countsAfter(undefined);
    while (page.length > 0) {
      yield page;
      page = page.length < PAGE_DEVICES ? [] : this.#countsAfter(page.at(-1)!.deviceId);
    }
  }

  // deno-lint-ignore require-await -- a failure is a rejection, as the contract says
  async device(deviceId: string): Promise<DeviceState | undefined> {
    return this.#read(
      `read device ${deviceId} from`,
      () => {
        const row = this.#statements.readDevice.get(deviceId) as unknown as DeviceState | undefined;
        return row && { ...row };
      },
    );
  }

  remove(deviceId: string): Promise<boolean> {
    return this.#write(
      `remove device ${deviceId} from`,
      () => this.#statements.removeDevice.run(deviceId).changes === 1,
    );
  }

  // deno-lint-ignore require-await -- as above
  async close(): Promise<void> {
    if (this.#db.isOpen) this.#db.close();
  }

  #countsAfter(deviceId: string | undefined): DeviceCount[] {
    const { firstCounts, nextCounts } = this.#statements;
    return this.#read(
      "read the counts from",
      () => {
        const rows = deviceId === undefined ? firstCounts.all() : nextCounts.all(deviceId);
        return (rows as unknown as DeviceCount[]).map((row) => ({ ...row }));
      },
    );
  }

  #cleanUp(nowMs: number): void {
    if (nowMs - this.#cleanedUpAtMs < CLEAN_UP_INTERVAL_MS) return;
    this.#cleanedUpAtMs = nowMs;
    this.#statements.expireSessions.run(nowMs);
    this.#statements.expireProducers.run(nowMs);
  }

  #read<T>(attempt: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw failure(attempt, this.#file, error);
    }
  }

  async #write<T>(attempt: string, body: () => T): Promise<T> {
    try {
      return await transaction(this.#db, this.#lockTimeoutMs, body);
    } catch (error) {
      throw failure(attempt, this.#file, error);
    }
  }
}

interface SessionRow {
  readonly epoch: number;
  readonly committed: number;
}

function prepare(db: DatabaseSync) {
  const counts = "SELECT device_id AS deviceId, count FROM devices";
  const page = `ORDER BY device_id LIMIT ${PAGE_DEVICES}`;
  return {
    readSession: db.prepare("SELECT epoch, committed FROM sessions WHERE session = ? AND expires_at_ms > ?"),
    writeSession: db.prepare("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)"),
    readSequence: db.prepare("SELECT sequence FROM producers WHERE producer = ? AND expires_at_ms > ?"),
    writeSequence: db.prepare("INSERT OR REPLACE INTO producers VALUES (?, ?, ?)"),
    // On the right-hand sides a bare column is the row as it was.
    addToDevice: db.prepare(`
      INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (device_id) DO UPDATE SET
        count = count + excluded.count,
        last_seen_ms = max(last_seen_ms, excluded.last_seen_ms),
        timestamp_ms = max(timestamp_ms, excluded.timestamp_ms),
        payload = iif(excluded.timestamp_ms >= timestamp_ms, excluded.payload, payload)`),
    firstCounts: db.prepare(`${counts} ${page}`),
    nextCounts: db.prepare(`${counts} WHERE device_id > ? ${page}`),
    readDevice: db.prepare(`
      SELECT device_id AS deviceId, count, first_seen_ms AS firstSeenMs, last_seen_ms AS lastSeenMs,
        timestamp_ms AS timestampMs, payload
      FROM devices WHERE device_id = ?`),
    removeDevice: db.prepare("DELETE FROM devices WHERE device_id = ?"),
    expireSessions: expire(db, "sessions"),
    expireProducers: expire(db, "producers"),
  };
}

function expire(db: DatabaseSync, table: string): StatementSync {
  return db.prepare(
    `DELETE FROM ${table} WHERE rowid IN
      (SELECT rowid FROM ${table} WHERE expires_at_ms <= ? LIMIT ${CLEAN_UP_ROWS})`,
  );
}

/** Runs `body` in one transaction: all of it happens, or nothing and this rejects. */
function transaction<T>(db: DatabaseSync, lockTimeoutMs: number, body: () => T): Promise<T> {
  // IMMEDIATE takes the write lock at the start: nothing after it can find the file locked.
  return whenUnlocked(db, lockTimeoutMs, () => db.exec("BEGIN IMMEDIATE"), () => {
    try {
      const result = body();
      db.exec("COMMIT");
      return result;
    } catch (error) {
      // A full disk, for one, ends the transaction by itself.
      if (db.isTransaction) db.exec("ROLLBACK");
      throw error;
    }
  });
}

/**
 * Tries `lock` until it succeeds or `lockTimeoutMs` have passed, then runs `body` in the same turn, so
 * that no other call on this connection comes between. Whatever `lock` throws is tried again: the driver
 * gives no error code by which a locked file could be told.
 */
async function whenUnlocked<T>(
  db: DatabaseSync,
  lockTimeoutMs: number,
  lock: () => void,
  body: () => T,
): Promise<T> {
  const deadline = performance.now() + lockTimeoutMs;
  for (;;) {
    try {
      lock();
    } catch (error) {
      if (!db.isOpen || performance.now() >= deadline) throw error;
      // About the time one batch takes; random, so that two processes do not keep meeting.
      await delay(2 + Math.random() * 8);
      continue;
    }
    return body();
  }
}

function failure(attempt: string, file: string, error: unknown): StoreError {
  const found = error instanceof Error ? error.message : String(error);
  return new StoreError(`could not ${attempt} SQLite file ${file}: ${found}`, { cause: error });
}
