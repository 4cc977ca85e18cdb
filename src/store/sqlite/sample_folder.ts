/**
 * Samples in a SQLite file, on their way to the values of their devices: see `redis/sample_folder.ts`. Here one
 * transaction reads and writes all that belongs together.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { HOUR_MS, MINUTE_MS } from "../model/periods.ts";
import { type FoldedDevice, type FoldOptions, historyWith, SampleFold } from "../model/sample_fold.ts";
import { StoreError } from "../store_error.ts";
import type { Database } from "./database.ts";
import type { ValueTables } from "./values.ts";

/** Rows are folded together until they have so many devices: some 30 ms, in which no batch is applied. */
const FOLD_DEVICES = 1000;

/** How long a store that closes goes on. */
const CLOSE_MS = 1000;

interface WaitingRow {
  readonly id: number;
  readonly kind: "samples" | "removed";
  readonly receivedAtMs: number;
  readonly ids: Uint8Array;
  readonly payloads: Uint8Array;
}

const queries = {
  next: `
    SELECT id, kind, received_ms AS receivedAtMs, ids, payloads FROM waiting_samples
    WHERE id > ? ORDER BY id LIMIT 1`,
  removeUpTo: "DELETE FROM waiting_samples WHERE id <= ?",
  readRecord: "SELECT record FROM device_values WHERE device_id = ?",
  writeRecord: "INSERT OR REPLACE INTO device_values VALUES (?, ?)",
  removeRecord: "DELETE FROM device_values WHERE device_id = ?",
  readHistory: "SELECT minutes, hours FROM value_histories WHERE device_id = ?",
  writeHistory: "INSERT OR REPLACE INTO value_histories VALUES (?, ?, ?)",
  removeHistory: "DELETE FROM value_histories WHERE device_id = ?",
};

/** Folds what waits. */
export class SampleFolder {
  readonly #database: Database;
  readonly #tables: ValueTables;
  readonly #options: FoldOptions;
  readonly #statements;
  #folding: Promise<void> | undefined;
  #hasStarted = false;
  #endsAtMs = Infinity;

  /** Does nothing yet. */
  constructor(database: Database, tables: ValueTables, options: FoldOptions) {
    this.#database = database;
    this.#tables = tables;
    this.#options = options;
    this.#statements = database.prepare(queries);
  }

  /** Begins to fold all that waits, unless that is in progress. */
  start(): void {
    this.#hasStarted = true;
    this.#folding ??= this.#foldAll().finally(() => this.#folding = undefined);
  }

  /** Folds what is left, for a moment at most; of a store that has folded before. */
  async close(): Promise<void> {
    if (!this.#hasStarted) return;
    this.#endsAtMs = performance.now() + CLOSE_MS;
    await this.#folding;
    await this.#foldAll();
  }

  async #foldAll(): Promise<void> {
    try {
      while (performance.now() < this.#endsAtMs) {
        const isLast = await this.#database.write("write values to", () => this.#foldSome());
        if (isLast) return;
      }
    } catch (error) {
      // They wait: the next call may succeed.
      if (!(error instanceof StoreError)) throw error;
    }
  }

  /** In a transaction; true: nothing is left. */
  #foldSome(): boolean {
    const fold = new SampleFold(this.#options), none = Buffer.alloc(0);
    let last = 0, bytes = 0;
    for (let row; fold.size < FOLD_DEVICES && (row = this.#next(last)) !== undefined;) {
      const [ids, payloads] = [bufferOf(row.ids), bufferOf(row.payloads)];
      fold.add({ ...row, ids, payloads, seenMs: none });
      last = row.id;
      bytes += ids.length + payloads.length;
    }
    if (last === 0) return true;
    const { readRecord, removeUpTo } = this.#statements, { deviceIds } = fold;
    const records = deviceIds.map((deviceId) => {
      const row = readRecord.get(deviceId) as { record: Uint8Array } | undefined;
      return row?.record ?? null;
    });
    const devices = fold.fold(deviceIds, records);
    for (const device of devices) this.#write(device);
    removeUpTo.run(last);
    this.#tables.taken(bytes);
    if (devices.length > 0) this.#tables.feed(devices.map(({ deviceId }) => deviceId));
    return fold.size < FOLD_DEVICES;
  }

  #next(after: number): WaitingRow | undefined {
    return this.#statements.next.get(after) as WaitingRow | undefined;
  }

  #write(device: FoldedDevice): void {
    const { deviceId, record, closed } = device;
    const { writeRecord, removeRecord, readHistory, writeHistory, removeHistory } = this.#statements;
    if (record === undefined) {
      removeRecord.run(deviceId);
      removeHistory.run(deviceId);
      return;
    }
    writeRecord.run(deviceId, record);
    if (closed.length === 0) return;
    const row = readHistory.get(deviceId) as Record<"minutes" | "hours", Uint8Array | null> | undefined;
    const [minutes, hours] = [row?.minutes ?? null, row?.hours ?? null];
    writeHistory.run(
      deviceId,
      historyWith(MINUTE_MS, minutes, device) ?? minutes,
      historyWith(HOUR_MS, hours, device) ?? hours,
    );
  }
}

function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
