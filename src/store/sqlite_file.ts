/**
 * Opening a SQLite file, and transactions on it, which other processes may have locked.
 *
 * The driver is synchronous, so no statement may wait for another process's lock: the busy timeout is
 * zero, and a transaction that cannot begin is tried again later without holding up the event loop.
 *
 * @module
 */
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

import { StoreError } from "./store.ts";

/** How a store names its file to people. */
export function describeFile(path: string): string {
  return `SQLite file ${resolve(path)}`;
}

/** In the header of Tally's files: "TALY". */
const APPLICATION_ID = 0x54414c59;

/**
 * Marks the file as Tally's. It writes a page whether it was marked before or not, so it also shows whether
 * the file can be written.
 */
export const writeApplicationId = `PRAGMA application_id = ${APPLICATION_ID}`;

/** Opens `file`; makes it if it is missing. A database that is not Tally's stays as it is. */
export function openFile(file: string): DatabaseSync {
  try {
    assertTally(file);
    return new DatabaseSync(file, { timeout: 0 });
  } catch (error) {
    throw failure("open", file, error);
  }
}

/**
 * Runs `body`, which opens `file`, while no other process and no other thread opens it; rejects after
 * `lockTimeoutMs` if another one still does. The folder is made if it is missing.
 *
 * A log that is left of a database that was deleted is removed before: a new file is not to use it, and SQLite
 * takes its index for the new file's as long as any process has the old one open, and fails to read it.
 */
export async function openAlone<T>(file: string, lockTimeoutMs: number, body: () => Promise<T>): Promise<T> {
  const folder = await openFolder(file);
  try {
    const deadline = performance.now() + lockTimeoutMs;
    while (!await folder.tryLock(true)) {
      if (performance.now() >= deadline) throw failure("open", file, new Error(FOLDER_LOCKED));
      await delay(2 + Math.random() * 8);
    }
    if (isMissingOrEmpty(file)) { for (const end of ["-wal", "-shm"]) removeIfThere(`${file}${end}`); }
    return await body();
  } finally {
    folder.close(); // and unlocked
  }
}

const FOLDER_LOCKED = "its folder is locked by another process or thread that opens it";

async function openFolder(file: string): Promise<Deno.FsFile> {
  try {
    await mkdir(dirname(file), { recursive: true });
    return await Deno.open(dirname(file));
  } catch (error) {
    throw failure("open", file, error);
  }
}

function isMissingOrEmpty(path: string): boolean {
  try {
    return Deno.statSync(path).size === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What {@linkcode assertTally} finds in files that were not marked yet. */
const tallyColumns = [
  "SELECT device_id, count, last_seen_ms FROM devices",
  "SELECT session, epoch, committed FROM sessions",
  "SELECT producer, sequence FROM producers",
];

/** Throws when `file` holds somebody else's database; does not change it. A missing or empty file is nobody's. */
function assertTally(file: string): void {
  if (applicationIdOf(file) === APPLICATION_ID) return;
  // The log may hold what the file's header does not have yet. Read-only: nothing is checkpointed into the file.
  const db = new DatabaseSync(file, { readOnly: true, timeout: 0 });
  try {
    const { application_id: id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
    const { tables } = db.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as { tables: number };
    if (id === APPLICATION_ID || (id === 0 && (tables === 0 || hasColumns(db)))) return;
  } finally {
    db.close();
  }
  throw new Error(
    "found a database of another program, which is left as it is; expected Tally's, or no file",
  );
}

/** Of the header as it stands in the file; Tally's for a file that is missing or empty. */
function applicationIdOf(file: string): number | undefined {
  const header = new Uint8Array(HEADER_BYTES);
  try {
    using opened = Deno.openSync(file);
    const length = opened.readSync(header) ?? 0;
    if (length === 0) return APPLICATION_ID;
    return length < HEADER_BYTES ? undefined : new DataView(header.buffer).getUint32(APPLICATION_ID_AT);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return APPLICATION_ID;
    throw error;
  }
}

/** @see https://www.sqlite.org/fileformat2.html#the_database_header */
const HEADER_BYTES = 100, APPLICATION_ID_AT = 68;

function hasColumns(db: DatabaseSync): boolean {
  try {
    for (const sql of tallyColumns) db.prepare(sql);
    return true;
  } catch {
    return false; // Preparing fails for a table or column that is not there.
  }
}

/** The files behind a connection: the database, its write-ahead log and the index of that. */
export class OpenFiles {
  readonly #opened: readonly (readonly [path: string, identity: string | undefined])[];

  /** Of a connection to `file` that has read or written: then all three are there. */
  constructor(file: string) {
    this.#opened = [file, `${file}-wal`, `${file}-shm`].map((path) => [path, identityOf(path)]);
  }

  /**
   * The first path that does not lead to the file that is open any more, because that was deleted or replaced:
   * what is written to it is in no file that anybody finds. Takes 7 µs.
   */
  lost(): string | undefined {
    return this.#opened.find(([path, identity]) => identityOf(path) !== identity)?.[0];
  }
}

/** Device and inode; undefined if there is no such file. The inode of an open file is not used again. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = Deno.statSync(path);
    return `${dev} ${ino}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/**
 * 16 MiB of the file are kept in memory, and as much is written to the log before it goes into the file: with
 * 100,000 devices, 2,000 of them per batch, a batch then takes 63 ms in the median; with SQLite's own 2 MB and
 * 4 MiB, 96 ms. Four times as much of either makes it 52 ms, and the longest batches longer. A log that grew
 * longer, because a reader held an old state of the file, is cut to that when it begins anew.
 */
export const tuning =
  "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 16777216";

/** Runs `body` in one transaction: all of it happens, or nothing and this rejects. */
export function transaction<T>(db: DatabaseSync, lockTimeoutMs: number, body: () => T): Promise<T> {
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

/** Runs `body`, whose statements all read the file as it is at the first of them. */
export function oneState<T>(db: DatabaseSync, body: () => T): T {
  db.exec("BEGIN");
  try {
    return body();
  } finally {
    db.exec("ROLLBACK"); // Nothing was written.
  }
}

/**
 * Tries `lock` until it succeeds or `lockTimeoutMs` have passed, then runs `body` in the same turn, so
 * that no other call on this connection comes between. Whatever `lock` throws is tried again: the driver
 * gives no error code by which a locked file could be told.
 */
export async function whenUnlocked<T>(
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

/**
 * Whether what made `attempt` fail may pass by itself: another process has the file locked, or the disk is full
 * or failing.
 * Told by SQLite's own messages, as the driver gives no error code.
 */
export function mayPass(error: unknown): boolean {
  const found = error instanceof Error && error.cause instanceof Error ? error.cause.message : "";
  return /is locked|disk is full|disk I\/O error/.test(found);
}

/** What to throw when `attempt` failed. */
export function failure(attempt: string, file: string, error: unknown): StoreError {
  const found = error instanceof Error ? error.message : String(error);
  return new StoreError(`could not ${attempt} SQLite file ${file}: ${found}`, { cause: error });
}
