/**
 * Segment logs as they are in a SQLite file, in the caller's transaction; `segment_log.ts` explains them.
 *
 * A row of `segment_logs` is a log that is not empty. Its segments are those from `merged` + 1 to `committed`; those up to
 * `merging_to`, unless that is 0, are being merged: `parts` rows of `merged_parts` have the devices that are done.
 *
 * @module
 */
import type { Database } from "./database.ts";

/** One log. */
export interface LogRow {
  /** Names it. */
  readonly log: number;
  /** The process that may append to it and merge it. */
  readonly owner: string;
  /** Number of its newest segment. */
  readonly committed: number;
  /** Segments up to this are merged. */
  readonly merged: number;
  /** Those up to this are being merged; 0: none are. */
  readonly mergingTo: number;
  /** How many parts of them are merged. */
  readonly parts: number;
}

/** One segment. */
export interface SegmentRow {
  /** See {@linkcode LogRow}. */
  readonly number: number;
  /** When its packets were received, Unix milliseconds. */
  readonly receivedAtMs: number;
  /** What `packDeltas()` returned. */
  readonly deltas: Uint8Array<ArrayBuffer>;
}

/** Removed rows that are kept, for processes that look later. */
const REMOVALS_KEPT = 10_000;

const columns = "log, owner, committed, merged, merging_to AS mergingTo, parts";

const queries = {
  create:
    "INSERT INTO segment_logs (owner, committed, merged, merging_to, parts, since_ms) VALUES (?, 0, 0, 0, 0, ?)",
  read: `SELECT ${columns} FROM segment_logs WHERE log = ?`,
  list: `SELECT ${columns} FROM segment_logs ORDER BY log`,
  append: "INSERT INTO segments VALUES (?, ?, ?, ?)",
  appended: "UPDATE segment_logs SET committed = ? WHERE log = ?",
  readSegment:
    "SELECT number, received_ms AS receivedAtMs, deltas FROM segments WHERE log = ? AND number = ?",
  takeOver: "UPDATE segment_logs SET owner = ? WHERE log = ?",
  addPart: "INSERT INTO merged_parts VALUES (?, ?, ?)",
  readParts: "SELECT entries FROM merged_parts WHERE log = ?",
  partMerged: "UPDATE segment_logs SET merging_to = ?, parts = ? WHERE log = ?",
  deleteSegments: "DELETE FROM segments WHERE log = ? AND number <= ?",
  deleteParts: "DELETE FROM merged_parts WHERE log = ?",
  segmentsMerged: `UPDATE segment_logs SET merged = ?2, merging_to = 0, parts = 0,
    since_ms = (SELECT received_ms FROM segments WHERE log = ?1 AND number = ?2 + 1) WHERE log = ?1`,
  deleteLog: "DELETE FROM segment_logs WHERE log = ?",
  newestRemoval: "SELECT seq FROM sqlite_sequence WHERE name = 'removed_rows'",
  readRemovals: "SELECT row FROM removed_rows WHERE id > ?",
  trimRemovals: "DELETE FROM removed_rows WHERE id <= ?",
  rowOf: "SELECT rowid AS row FROM devices WHERE device_id = ?",
};

/** The statements. */
export class LogTables {
  readonly #statements;

  /** Prepares them. */
  constructor(database: Database) {
    this.#statements = database.prepare(queries);
  }

  /** Makes a log without segments; returns its name. */
  create(owner: string, sinceMs: number): number {
    return Number(this.#statements.create.run(owner, sinceMs).lastInsertRowid);
  }

  /** The log, if it is not empty. */
  read(log: number): LogRow | undefined {
    return this.#statements.read.get(log) as LogRow | undefined;
  }

  /** All that are not empty. */
  list(): LogRow[] {
    return this.#statements.list.all() as unknown as LogRow[];
  }

  /** Adds a segment. */
  append(log: number, { number, receivedAtMs, deltas }: SegmentRow): void {
    this.#statements.append.run(log, number, receivedAtMs, deltas);
    this.#statements.appended.run(number, log);
  }

  /** One segment. */
  segment(log: number, number: number): SegmentRow | undefined {
    return this.#statements.readSegment.get(log, number) as SegmentRow | undefined;
  }

  /** Gives the log to another process. */
  takeOver(log: number, owner: string): void {
    this.#statements.takeOver.run(owner, log);
  }

  /** Notes which entries of the segments up to `mergingTo` are merged as their next part. */
  partMerged({ log, parts }: LogRow, mergingTo: number, entries: Uint32Array): void {
    const bytes = new Uint8Array(entries.buffer, entries.byteOffset, entries.byteLength);
    this.#statements.addPart.run(log, parts + 1, bytes);
    this.#statements.partMerged.run(mergingTo, parts + 1, log);
  }

  /** The entries of all parts that are merged. */
  mergedEntries(log: number): Uint32Array[] {
    const rows = this.#statements.readParts.all(log) as { entries: Uint8Array }[];
    return rows.map(({ entries }) => new Uint32Array(entries.slice().buffer));
  }

  /** Deletes segments of which all parts are merged; and the log, if it is empty: returns whether. */
  segmentsMerged({ log, committed }: LogRow, to: number): boolean {
    const { deleteSegments, deleteParts, deleteLog, segmentsMerged } = this.#statements;
    deleteSegments.run(log, to);
    deleteParts.run(log);
    if (committed === to) deleteLog.run(log);
    else segmentsMerged.run(log, to);
    return committed === to;
  }

  /** The row of a device; 0: it does not exist. */
  rowOf(deviceId: string): number {
    return (this.#statements.rowOf.get(deviceId) as { row: number } | undefined)?.row ?? 0;
  }

  /** How many devices were removed, ever. */
  get removals(): number {
    return (this.#statements.newestRemoval.get() as { seq: number } | undefined)?.seq ?? 0;
  }

  /** Rows of the devices that were removed since there were so many removals; undefined: that is not known any more. */
  removedSince(removals: number, now: number): number[] | undefined {
    const rows = this.#statements.readRemovals.all(removals) as { row: number }[];
    if (rows.length !== now - removals) return undefined;
    this.#statements.trimRemovals.run(now - REMOVALS_KEPT);
    return rows.map(({ row }) => row);
  }
}
