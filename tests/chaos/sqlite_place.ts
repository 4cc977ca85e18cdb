/** @module */
import { Buffer } from "node:buffer";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { until } from "../support/until.ts";
import { countsIn, isAllCounted } from "./sqlite_counts.ts";
import { ALL_COUNTED_SECONDS, deferringSettings } from "./stored_counts.ts";
import type { StorePlace } from "./store_place.ts";
import { EntryReader, type StreamedPackets, streamSettings } from "./streamed_packets.ts";

/** A folder below which the processes of Tally may read and write. */
export async function dataFolder(): Promise<string> {
  const folder = fileURLToPath(new URL("../../data", import.meta.url));
  await Deno.mkdir(folder, { recursive: true });
  return folder;
}

/** After that a process that was sent SIGSTOP does nothing more. */
const STOPPED_AFTER_MS = 100;

const RETRY_MS = 10;

/** Longer than a store method waits for a lock: some fail. */
const INTERRUPTION_MS = 1500;

/** A SQLite file that all processes share. */
export class SqlitePlace implements StorePlace {
  /** Of the file and its companions. */
  readonly path: string;
  /** Stops and resumes every process that has the file open; to be set once they run. */
  pauseTally: () => Promise<void> = () => Promise.resolve();
  resumeTally: () => Promise<void> = () => Promise.resolve();

  private constructor(readonly folder: string) {
    this.path = `${folder}/tally.db`;
  }

  /** Makes a folder; Tally makes the file. */
  static async make(): Promise<SqlitePlace> {
    return new SqlitePlace(await Deno.makeTempDir({ dir: await dataFolder(), prefix: "chaos-" }));
  }

  ingestSettings(index: number): Record<string, string> {
    return { ...this.apiSettings, ...streamSettings, ...deferringSettings(index) };
  }

  get apiSettings(): Record<string, string> {
    return { TALLY_DB: this.path };
  }

  allCounted(): Promise<void> {
    const isCounted = () => this.#read(isAllCounted, true);
    return until(() => isCounted().catch(() => false), "all packets are counted", ALL_COUNTED_SECONDS);
  }

  counts(): Promise<Map<string, number>> {
    return this.#read(countsIn, new Map());
  }

  shardOf(): number {
    return 0;
  }

  async streamed(): Promise<StreamedPackets> {
    const sql = "SELECT device_id, packets FROM packet_stream ORDER BY id";
    const rows = await this.#read((db) => db.prepare(sql).all(), []), reader = new EntryReader();
    for (const { device_id, packets } of rows as { device_id: string; packets: Uint8Array }[]) {
      reader.add(device_id, Buffer.from(packets));
    }
    return reader.packets;
  }

  async held(sessions: readonly string[]): Promise<Map<string, readonly number[]>> {
    const sql = "SELECT session, committed FROM sessions";
    const rows = await this.#read((db) => db.prepare(sql).all(), []);
    const known = new Map(rows.map(({ session, committed }) => [String(session), Number(committed)]));
    return new Map(sessions.map((session) => [session, [known.get(session) ?? 0]]));
  }

  /**
   * Not while a process of Tally opens the file, for which it locks the folder: SQLite finds the log by its path, so one
   * that has opened the old file and not read it yet would write to the new file's log, or delete it.
   */
  async withoutTally(body: () => Promise<void>): Promise<void> {
    using folder = await Deno.open(this.folder);
    while (!await folder.tryLock(true)) await delay(RETRY_MS);
    await this.pauseTally();
    try {
      await delay(STOPPED_AFTER_MS);
      await body();
    } finally {
      await this.resumeTally();
    }
  }

  async interrupt(): Promise<void> {
    await this.hold("BEGIN IMMEDIATE", () => delay(INTERRUPTION_MS));
  }

  /** Another program begins a transaction on the file, and ends it when `body` is done. */
  async hold(begin: string, body: () => Promise<unknown>): Promise<void> {
    const db = new DatabaseSync(this.path, { timeout: 0 });
    try {
      await whenUnlocked(() => {
        if (db.isTransaction) db.exec("ROLLBACK");
        db.exec(begin);
      });
      await body();
      db.exec("ROLLBACK");
    } finally {
      db.close();
    }
  }

  /** Keeps the present state in a file of its own, beside the database; returns its path. */
  async copy(): Promise<string> {
    const copy = `${this.folder}/copy-${crypto.randomUUID()}.db`;
    while (!isThere(this.path)) await delay(RETRY_MS); // Tally is about to make it.
    await this.withoutTally(async () => {
      await Deno.copyFile(this.path, copy);
      if (isThere(`${this.path}-wal`)) await Deno.copyFile(`${this.path}-wal`, `${copy}-wal`);
    });
    const db = new DatabaseSync(copy);
    db.exec("PRAGMA journal_mode = DELETE"); // what the log has goes into the file
    db.close();
    return copy;
  }

  /** Deletes the file; `alone`: its log and the index of that are left. */
  async remove({ alone }: { alone: boolean }): Promise<void> {
    for (const end of alone ? [""] : ["-wal", "-shm", ""]) await removeIfThere(this.path + end);
  }

  /** Gives the file's place to the file `other`. */
  async replace(other: string): Promise<void> {
    await this.remove({ alone: false });
    await Deno.rename(other, this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }

  /** `empty`: what a file that is missing or empty has. */
  // deno-lint-ignore require-await -- SQLite answers at once
  async #read<T>(body: (db: DatabaseSync) => T, empty: T): Promise<T> {
    if (!isThere(this.path)) return empty;
    const db = new DatabaseSync(this.path, { readOnly: true, timeout: 0 });
    try {
      const { tables } = db.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as {
        tables: number;
      };
      return tables === 0 ? empty : body(db);
    } finally {
      db.close();
    }
  }
}

/** Tries `work` until nobody has the file locked. It may not wait in SQLite, which would stop the clients too. */
async function whenUnlocked(work: () => void): Promise<void> {
  while (!unlessLocked(work)) await delay(RETRY_MS);
}

/** False: the file was locked. */
function unlessLocked(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (/is locked/.test(String(error))) return false;
    throw error;
  }
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).size > 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeIfThere(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
