/**
 * Segment logs of processes that have ended, or hang: any other takes them over, and merges them.
 *
 * No clock is compared: a log in which nothing was appended or merged for a while, as this process sees it, has no owner.
 *
 * @module
 */
import { StoreError } from "../store_error.ts";
import type { LogRow } from "./log_tables.ts";
import { unpackDeltas } from "./packed_deltas.ts";
import { type MergeParts, SegmentLog } from "./segment_log.ts";

/** How often logs are looked at. */
const LOOK_EVERY_MS = 1000;

/** Bytes of segments that are read before they are merged. */
const READ_BYTES = 64 * 2 ** 20;

/** What one process has seen of the logs of others. */
export class LogAdoption {
  readonly #parts: MergeParts;
  readonly #abandonedMs: number;
  readonly #signal: AbortSignal;
  /** Since when a log has been as it is, by log. */
  #seen = new Map<number, { readonly state: string; readonly sinceMs: number }>();
  #lookedAtMs = -Infinity;
  #adopting: Promise<void> | undefined;

  /** Has seen nothing. After `abandonedMs` without a change a log is taken over. */
  constructor(parts: MergeParts, abandonedMs: number, signal: AbortSignal) {
    this.#parts = parts;
    this.#abandonedMs = abandonedMs;
    this.#signal = signal;
  }

  /** Looks at all logs but `own`, and begins to merge those that are abandoned; unless that was done a moment ago. */
  begin(own: number | undefined, nowMs = performance.now()): void {
    if (
      this.#adopting !== undefined || nowMs - this.#lookedAtMs < Math.min(LOOK_EVERY_MS, this.#abandonedMs) ||
      this.#signal.aborted
    ) {
      return;
    }
    this.#lookedAtMs = nowMs;
    this.#adopting = this.#adopt(own, nowMs).catch((error) => {
      if (!(error instanceof StoreError)) throw error; // It is looked at again.
    }).finally(() => this.#adopting = undefined);
  }

  /** Resolves when nothing is being merged. */
  async end(): Promise<void> {
    await this.#adopting;
  }

  async #adopt(own: number | undefined, nowMs: number): Promise<void> {
    const { database, tables } = this.#parts;
    const seen = this.#seen, rows = await database.read("list the segment logs of", () => tables.list());
    const others = rows.filter(({ log }) => log !== own);
    this.#seen = new Map(others.map((row) => {
      const state = JSON.stringify(row), before = seen.get(row.log);
      return [row.log, before?.state === state ? before : { state, sinceMs: nowMs }];
    }));
    for (const row of others) {
      if (nowMs - this.#seen.get(row.log)!.sinceMs < this.#abandonedMs || this.#signal.aborted) continue;
      await this.#adoptLog(row);
    }
  }

  async #adoptLog(found: LogRow): Promise<void> {
    const { database, tables } = this.#parts, owner = crypto.randomUUID();
    const done = await database.write("take over a segment log in", () => {
      if (JSON.stringify(tables.read(found.log)) !== JSON.stringify(found)) return undefined;
      tables.takeOver(found.log, owner);
      return tables.mergedEntries(found.log);
    });
    if (done === undefined) return;
    const log = new SegmentLog(this.#parts, { ...found, owner }, done);
    let indexes = new Map<string, number>();
    for (let number = found.merged + 1, bytes = 0; number <= found.committed; number++) {
      bytes += await this.#read(log, number, indexes);
      // What was being merged must be merged as it was divided, and nothing else with it.
      const isRead = number === found.mergingTo || number === found.committed ||
        (number > found.mergingTo && bytes >= READ_BYTES);
      if (!isRead) continue;
      await log.merge(this.#signal);
      if (log.isLost || this.#signal.aborted) return;
      indexes = new Map();
      bytes = 0;
    }
  }

  /** Reads a segment; returns its length. */
  async #read(log: SegmentLog, number: number, indexes: Map<string, number>): Promise<number> {
    const { database, tables } = this.#parts;
    const row = await database.read("read a segment of", () => tables.segment(log.log, number));
    if (row === undefined) throw new StoreError(`found no segment ${number} in log ${log.log}`);
    const deltas = unpackDeltas(row.deltas);
    const ofDeltas = deltas.map(({ deviceId }) => {
      let index = indexes.get(deviceId);
      if (index === undefined) indexes.set(deviceId, index = indexes.size);
      return index;
    });
    log.append({ number, bytes: row.deltas.length, receivedAtMs: row.receivedAtMs }, deltas, ofDeltas);
    return row.deltas.length;
  }
}
