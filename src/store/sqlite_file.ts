/**
 * Opening a SQLite file, and transactions on it, which other processes may have locked.
 *
 * The driver is synchronous, so no statement may wait for another process's lock: the busy timeout is
 * zero, and a transaction that cannot begin is tried again later without holding up the event loop.
 *
 * @module
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

import { StoreError } from "./store.ts";

/** Opens `file`; makes it, and its folder, if it is missing. */
export async function openFile(file: string): Promise<DatabaseSync> {
  try {
    await mkdir(dirname(file), { recursive: true });
    return new DatabaseSync(file, { timeout: 0 });
  } catch (error) {
    throw failure("open", file, error);
  }
}

/**
 * 16 MiB of the file are kept in memory, and as much is written to the log before it goes into the file: with
 * 100,000 devices, 2,000 of them per batch, a batch then takes 63 ms in the median; with SQLite's own 2 MB and
 * 4 MiB, 96 ms. Four times as much of either makes it 52 ms, and the longest batches longer.
 */
export const tuning = "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000";

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

/** What to throw when `attempt` failed. */
export function failure(attempt: string, file: string, error: unknown): StoreError {
  const found = error instanceof Error ? error.message : String(error);
  return new StoreError(`could not ${attempt} SQLite file ${file}: ${found}`, { cause: error });
}
