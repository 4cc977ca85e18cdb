/**
 * A segment log in a SQLite file: batches as they came, which are merged into the devices later.
 *
 * To add a batch to the devices one by one takes 6 µs a device, and 20 where they are many and come in any order, for each
 * then takes a page of the file of its own. To append it as one value takes 0.15 µs a device. So when a fleet sends more
 * than the file can count at once, ingest writes each batch as a *segment*, in the same transaction in which the sessions of
 * the batch advance. What is in a log is stored, and acknowledged. In the background the segments are merged: the deltas of
 * each device, coalesced over all of them, are added as one, in the order of the rows, so that each page is written once.
 * Each part of that is one transaction, which also notes which entries of the segments are done. An *entry* is a device, by
 * the order in which the devices first come in the segments.
 *
 * Nothing but the file is needed to go on: a log whose owner has ended is taken over by any other process.
 *
 * @module
 */
import { Backoff } from "../../runtime/backoff.ts";
import type { Generation, SegmentFacts } from "../model/generation.ts";
import { PendingDelta } from "../model/pending_deltas.ts";
import { UnmergedSegments } from "../model/unmerged_segments.ts";
import type { DeviceDelta } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import type { Database } from "./database.ts";
import { orderOf } from "./known_rows.ts";
import type { LogRow, LogTables } from "./log_tables.ts";

/** Least share of the time in which the file is merged, while devices send; the older and larger a log, the more. */
const LEAST_SHARE = 0.15;

/** What merging needs of the rest of the store. */
export interface MergeParts {
  /** Has the log. */
  readonly database: Database;
  /** Its tables. */
  readonly tables: LogTables;
  /** Adds to devices what was received of them, in the transaction; `rows`: theirs, or 0. */
  mergeDeltas(deltas: readonly PendingDelta[], rows: Uint32Array): void;
  /** The row of the device with this number, if it is known; or 0. */
  rowOf(device: number): number;
  /** Devices of one transaction. */
  readonly partDevices: number;
}

/** What became of one part. */
type Outcome = "merged" | "all merged" | "ended" | "lost";

/** One log, of which this process is the owner. */
export class SegmentLog {
  /** Number of the newest segment. */
  committed: number;
  /** Another process has the log, or the file lost it. Whatever is in it is merged from the file. */
  isLost = false;
  /** All is merged: it does not exist in the file any more. */
  isEnded = false;
  /** {@linkcode merge} is at work: it merges what is appended meanwhile too. */
  isMerging = false;
  /** Of it what is not merged yet. */
  readonly unmerged: UnmergedSegments<SegmentFacts> = new UnmergedSegments();
  /** As the file has it. */
  #row: LogRow;
  /** Of the first generation: entries that are merged. */
  #done: readonly Uint32Array[];
  readonly #backoff = new Backoff({ firstMs: 25, maxMs: 1000 });

  /** `done`: the entries that are merged of the segments that are being merged. */
  constructor(readonly parts: MergeParts, row: LogRow, done: readonly Uint32Array[] = []) {
    this.#row = row;
    this.#done = done;
    this.committed = row.merged;
  }

  /** Names it. */
  get log(): number {
    return this.#row.log;
  }

  /** Whether the file has the log as this process left it; to be called in a transaction. */
  isIntact(row: LogRow | undefined): boolean {
    return row?.owner === this.#row.owner && row.committed === this.committed;
  }

  /** A segment was committed, with these deltas. `indexes`: of their devices in {@linkcode Generation.add}. */
  append(segment: SegmentFacts, deltas: readonly DeviceDelta[], indexes: ArrayLike<number>): void {
    this.committed = segment.number;
    this.unmerged.append(segment, deltas, indexes);
  }

  /** Resolves when there is room for a segment. */
  room(): Promise<void> {
    return this.unmerged.room(() => this.isMerging);
  }

  /** Merges until all is merged, the log is lost, or `signal` is aborted. `onGeneration` is called before each merge. */
  async merge(
    signal: AbortSignal,
    onGeneration: (generation: Generation<SegmentFacts>) => void = () => {},
  ): Promise<void> {
    this.isMerging = true;
    try {
      for (let generation; (generation = this.unmerged.generations[0]) !== undefined && !signal.aborted;) {
        generation.isSealed = true;
        onGeneration(generation);
        if (!await this.#mergeGeneration(generation, signal)) return;
      }
    } finally {
      this.isMerging = false;
      this.unmerged.release();
    }
  }

  /** False: the log is lost or has ended, or `signal` was aborted. */
  async #mergeGeneration(generation: Generation<SegmentFacts>, signal: AbortSignal): Promise<boolean> {
    const rows = await this.#rowsOf(generation, signal);
    if (rows === undefined) return false;
    const order = this.#unmerged(orderOf(rows));
    for (let from = 0;;) {
      const to = Math.min(from + this.parts.partDevices, order.length), isLast = to === order.length;
      const startedMs = performance.now();
      const outcome = await this.#mergePart(order.subarray(from, to), rows, generation, isLast, signal);
      if (outcome === undefined) return false;
      this.isLost = outcome === "lost";
      this.isEnded = outcome === "ended";
      if (this.isLost || this.isEnded || isLast) {
        this.unmerged.removeOldest();
        return !this.isLost && !this.isEnded;
      }
      from = to;
      await this.#spareStore(performance.now() - startedMs, generation, signal);
    }
  }

  /** The row of each entry, 0 for those that do not exist; undefined: `signal` was aborted, or the file cannot be read. */
  async #rowsOf(
    { pending }: Generation<SegmentFacts>,
    signal: AbortSignal,
  ): Promise<Uint32Array | undefined> {
    const { rowOf, database, tables, partDevices } = this.parts;
    const rows = new Uint32Array(pending.size);
    for (let entry = 0; entry < rows.length; entry++) rows[entry] = rowOf(pending.devices[entry]!);
    for (let from = 0; (from = rows.indexOf(0, from)) >= 0;) {
      const to = Math.min(from + partDevices, rows.length), first = from;
      const read = () =>
        database.read("look up devices of a segment log in", () => {
          for (let entry = first; entry < to; entry++) {
            if (rows[entry] === 0) rows[entry] = tables.rowOf(new PendingDelta(pending, entry).deviceId);
          }
          return true;
        });
      if (!await this.#untilDone(read, signal)) return undefined;
      from = to;
      if (from >= rows.length) break;
      await this.#backoff.wait(0, signal);
    }
    return rows;
  }

  #unmerged(order: Uint32Array): Uint32Array {
    if (this.#done.length === 0) return order;
    const isDone = new Uint8Array(order.length);
    for (const entries of this.#done) for (const entry of entries) isDone[entry] = 1;
    this.#done = [];
    return order.filter((entry) => isDone[entry] === 0);
  }

  /** Merges one part in one transaction; undefined as above. */
  async #mergePart(
    entries: Uint32Array,
    rows: Uint32Array,
    { pending, segments }: Generation<SegmentFacts>,
    isLast: boolean,
    signal: AbortSignal,
  ): Promise<Outcome | undefined> {
    const { database, tables, mergeDeltas } = this.parts, to = segments.at(-1)!.number;
    const deltas = Array.from(entries, (entry) => new PendingDelta(pending, entry));
    const rowsOfPart = Uint32Array.from(entries, (entry) => rows[entry]!);
    const merge = () =>
      database.write<Outcome>(`merge ${entries.length} devices of a segment log in`, () => {
        const row = tables.read(this.log), expected = this.#row;
        if (
          row?.owner !== expected.owner || row.merged !== expected.merged || row.committed < to
        ) return "lost";
        if (row.mergingTo !== expected.mergingTo || row.parts !== expected.parts) return "lost";
        mergeDeltas(deltas, rowsOfPart);
        if (isLast) return tables.segmentsMerged(row, to) ? "ended" : "all merged";
        tables.partMerged(row, to, entries);
        return "merged";
      });
    const outcome = await this.#untilDone(merge, signal);
    if (outcome === undefined) return undefined;
    this.#row = isLast
      ? { ...this.#row, merged: to, mergingTo: 0, parts: 0 }
      : { ...this.#row, mergingTo: to, parts: this.#row.parts + 1 };
    return outcome;
  }

  /** Repeats `body` until it succeeds; undefined: `signal` was aborted. */
  async #untilDone<T>(body: () => Promise<T>, signal: AbortSignal): Promise<Awaited<T> | undefined> {
    for (;;) {
      if (signal.aborted) return undefined;
      try {
        const result = await body();
        this.#backoff.succeeded();
        return result;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        // It is opened anew, by another store.
        if (!this.parts.database.isOpen) this.isLost = true;
        if (this.isLost) return undefined;
      }
      await this.#backoff.wait(this.#backoff.failed(), signal);
    }
  }

  /** A part took so long: waits, so that commits and other processes have the rest of the time. */
  async #spareStore(
    tookMs: number,
    generation: Generation<SegmentFacts>,
    signal: AbortSignal,
  ): Promise<void> {
    const share = this.unmerged.mergeShare(generation, LEAST_SHARE);
    // At the least, calls that have arrived meanwhile come before the next part.
    await this.#backoff.wait(tookMs * (1 / share - 1), signal);
  }
}
