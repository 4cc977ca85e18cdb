/**
 * A copy of a SQLite file, made while other processes write to it.
 *
 * @module
 */
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";

import { messageOf } from "../../runtime/error_text.ts";
import { StoreError } from "../store_error.ts";

/** Wait for a lock: writers hold none against readers, but for a moment when the last process closes the file. */
const LOCK_TIMEOUT_MS = 5_000;

/** More pages than any file has. */
const ALL_PAGES = 2 ** 31 - 1;

/**
 * Copies all that is committed in the file at `from` to a new file `to`, whose folder is made; resolves to its size in
 * bytes when it is checked and on the disk. Processes that use the file go on meanwhile; its log grows by what they
 * write. Under the name `to` there is a whole copy, or none.
 *
 * @throws {StoreError} `from` is missing or cannot be read, `to` exists or cannot be written, or the copy is damaged.
 */
export async function backupSqliteFile(from: string, to: string): Promise<number> {
  const source = resolve(from), target = resolve(to), part = `${target}.part`;
  try {
    if (!await exists(source)) {
      throw new Error("found no file there; set TALLY_DB to that of the running Tally");
    }
    if (await exists(target)) throw new Error(`found ${target}; choose a name that is free`);
    await mkdir(dirname(target), { recursive: true });
    await rm(part, { force: true });
    await copy(source, part);
    await sync(part);
    await rename(part, target);
    await sync(dirname(target));
    return (await stat(target)).size;
  } catch (error) {
    await rm(part, { force: true }).catch(() => {}); // the first error is reported
    throw new StoreError(`Cannot back up SQLite file ${source}: ${messageOf(error)}`, { cause: error });
  }
}

/** In one step, so of one state of the file. `VACUUM INTO` would need all of Deno's permissions. */
async function copy(from: string, to: string): Promise<void> {
  const db = new DatabaseSync(from, { readOnly: true, timeout: LOCK_TIMEOUT_MS });
  try {
    await backup(db, to, { rate: ALL_PAGES });
  } finally {
    db.close();
  }
  const copied = new DatabaseSync(to);
  try {
    copied.exec("PRAGMA journal_mode = DELETE"); // one file, without a log beside it
    const { integrity_check: result } = copied.prepare("PRAGMA integrity_check").get() as {
      integrity_check: string;
    };
    if (result !== "ok") throw new Error(`the copy is damaged: ${result}`);
  } finally {
    copied.close();
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}
