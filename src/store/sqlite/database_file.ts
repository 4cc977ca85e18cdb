/**
 * Opening a SQLite file, and transactions on it, which other processes may have locked.
 *
 * The driver is synchronous, so no statement may wait for another process's lock: the busy timeout is
 * zero, and a transaction that cannot begin is retried later without blocking the event loop.
 *
 * @module
 */
import { closeSync, openSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";

import { messageOf } from "../../runtime/error_text.ts";
import { StoreError } from "../store_error.ts";

/** Names the file in messages. */
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

/** A connection, and the identity of the file that it is to. */
export interface OpenedFile {
  /** Nothing was read or written yet. */
  readonly db: DatabaseSync;
  /** As {@linkcode OpenFiles} compares it. */
  readonly identity: string | undefined;
}

/**
 * Runs `body`, which opens `file`, while no other process and no other thread opens it. The folder is made if it is
 * missing.
 *
 * A log that is left of a database that was deleted is removed before: a new file is not to use it, and SQLite
 * takes its index for the new file's as long as any process has the old one open, and fails to read it.
 *
 * @throws {StoreError} `body` rejected, or another process or thread still opens the file after `lockTimeoutMs`.
 */
export async function openAlone<T>(file: string, lockTimeoutMs: number, body: () => Promise<T>): Promise<T> {
  let folder: Deno.FsFile | undefined;
  try {
    await mkdir(dirname(file), { recursive: true });
    folder = await Deno.open(dirname(file));
    await lockFolder(folder, lockTimeoutMs);
    if (isMissingOrEmpty(file)) removeLog(file);
    return await body();
  } catch (error) {
    throw failure("open", file, error);
  } finally {
    folder?.close(); // and unlocked
  }
}

async function lockFolder(folder: Deno.FsFile, lockTimeoutMs: number): Promise<void> {
  const deadline = performance.now() + lockTimeoutMs;
  while (!await folder.tryLock(true)) {
    if (performance.now() >= deadline) {
      throw new Error("its folder is locked by another process or thread that opens it");
    }
    await delay(2 + Math.random() * 8);
  }
}

function removeLog(file: string): void {
  for (const end of ["-wal", "-shm"]) rmSync(`${file}${end}`, { force: true });
}

function isMissingOrEmpty(path: string): boolean {
  const found = statOf(path);
  // SQLite opens a folder as if it were an empty file that cannot be written.
  if (found?.isDirectory) throw new Error("found a folder; expected a file");
  return found === undefined || found.size === 0;
}

/** Opens `file`; makes it if it is missing. A database that is not Tally's stays as it is. */
export function openFile(file: string): OpenedFile {
  // No thread has a file open that is only made here, so closing it drops no locks: see `applicationIdOf`.
  if (identityOf(file) === undefined) closeSync(openSync(file, "wx"));
  // Before it is opened: whatever replaces it from now on is found to be another file.
  const identity = identityOf(file);
  assertTally(file);
  return { db: new DatabaseSync(file, { timeout: 0 }), identity };
}

/** Queries that succeed on every file that Tally wrote before it marked its files. */
const tallyColumns = [
  "SELECT device_id, count, last_seen_ms FROM devices",
  "SELECT session, epoch, committed FROM sessions",
  "SELECT producer, sequence FROM producers",
];

/** Throws when `file` holds another program's database; does not change it. A missing or empty file belongs to none. */
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

/**
 * Of the header as it stands in the file, without what is in the log; Tally's for a file that is missing or empty;
 * undefined if the file cannot be read as a database. SQLite reads it: by the rules of POSIX, closing the file in any
 * other way would drop the locks that other threads of this process hold on it. As an immutable file it is not
 * locked, and no log is made beside it.
 */
function applicationIdOf(file: string): number | undefined {
  if (isMissingOrEmpty(file)) return APPLICATION_ID;
  const url = pathToFileURL(file);
  url.search = "?immutable=1";
  try {
    const db = new DatabaseSync(url, { readOnly: true });
    try {
      return db.prepare("PRAGMA application_id").get()?.["application_id"] as number | undefined;
    } finally {
      db.close();
    }
  } catch {
    return undefined; // The caller opens it as usual, and reports why that fails.
  }
}

function hasColumns(db: DatabaseSync): boolean {
  try {
    for (const sql of tallyColumns) db.prepare(sql);
    return true;
  } catch {
    return false; // Preparing fails for a table or column that is not there.
  }
}

/** The files of a connection: the database, its write-ahead log and the log's index. */
export class OpenFiles {
  readonly #opened: readonly (readonly [path: string, identity: string | undefined])[];

  /** Of a connection to `file` that has read or written: then all three are there. */
  constructor(file: string, identity: string | undefined) {
    const log = [`${file}-wal`, `${file}-shm`].map((path) => [path, identityOf(path)] as const);
    this.#opened = [[file, identity], ...log];
  }

  /**
   * The first path that no longer leads to the open file, because that was deleted or replaced: writes to it
   * are lost when it is closed. Takes 7 µs.
   */
  lost(): string | undefined {
    return this.#opened.find(([path, identity]) => identityOf(path) !== identity)?.[0];
  }
}

/** Device and inode; undefined if there is no such file. The inode of an open file is not used again. */
function identityOf(path: string): string | undefined {
  const found = statOf(path);
  return found && `${found.dev} ${found.ino}`;
}

/** Undefined if there is no such file. */
function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/**
 * 16 MiB of the file are kept in memory, and as much is written to the log before it goes into the file: with
 * 100,000 devices, 2,000 of them per batch, a batch then takes 63 ms in the median; with SQLite's own 2 MB and
 * 4 MiB, 96 ms. Four times as much of either makes it 52 ms, and the longest batches longer. A log that grew
 * further, because a reader held an old snapshot, is truncated to that when it is reset.
 */
export const tuning =
  "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 16777216";

/** Runs `body` in one transaction: all of it happens, or nothing and this rejects. */
export function transaction<T>(db: DatabaseSync, lockTimeoutMs: number, body: () => T): Promise<T> {
  // IMMEDIATE acquires the write lock at the start: no later statement can find the file locked.
  return retryWhileLocked(db, lockTimeoutMs, () => db.exec("BEGIN IMMEDIATE"), () => {
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

/** Runs `body` on one snapshot of the file: that of its first statement. */
export function readTransaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec("BEGIN");
  try {
    return body();
  } finally {
    db.exec("ROLLBACK"); // Nothing was written.
  }
}

/**
 * Tries `lock` until it succeeds or `lockTimeoutMs` have passed, then runs `body` in the same turn, so
 * that no other call on this connection comes between. Any error of `lock` is retried: the driver has no error
 * code for a locked file.
 */
export async function retryWhileLocked<T>(
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
 * Whether an error may be over at the next attempt: another process has the file locked, or the disk is full or
 * failing. Recognised by SQLite's messages, as the driver has no error code, and by that of {@linkcode openAlone}.
 */
export function isTransient(error: unknown): boolean {
  const found = error instanceof Error && error.cause instanceof Error ? error.cause.message : "";
  return /is locked|disk is full|disk I\/O error/.test(found);
}

/** The error to throw when `attempt` failed; it completes "could not …". */
export function failure(attempt: string, file: string, error: unknown): StoreError {
  return new StoreError(`could not ${attempt} SQLite file ${file}: ${messageOf(error)}`, { cause: error });
}
