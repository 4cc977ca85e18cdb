/**
 * Which packets of a batch are counted at once, and which are appended to a segment log and counted later.
 *
 * All are counted at once as long as there is time for it: a batch grows only while the one before is being written, so a
 * batch of many devices shows that the file is busy. From then on devices that the file is known to have go into a segment,
 * until so few come that they can be counted at once again, and nothing of the device is left in the log. Devices that may
 * be new are always counted at once, for limits are checked there.
 *
 * @module
 */
import type { Generation, SegmentFacts } from "../model/generation.ts";
import type { Batch, DeferredAmount, DeviceDelta } from "../packets.ts";
import { KnownRows } from "./known_rows.ts";
import { LogAdoption } from "./log_adoption.ts";
import { packDeltas } from "./packed_deltas.ts";
import { type MergeParts, SegmentLog } from "./segment_log.ts";

/** Devices of a batch that is deferred, at least: fewer are counted at once. */
const MIN_SEGMENT_DEVICES = 256;

/** With fewer device-updates a second than this, all packets are counted at once again: some 0.2 of the thread's time. */
const FEW_UPDATES_PER_SECOND = 20_000;

/** What becomes of a batch. */
export interface Split {
  /** Counted at once. */
  readonly counted: readonly DeviceDelta[];
  /** Of each of them: the row of its device, or 0; once it is counted, its row. */
  readonly rows: Uint32Array;
  /** The segment that holds the rest; undefined: there is no rest. */
  readonly deferred?: DeferredPart;
}

/** The part of a batch that goes into a log. */
export interface DeferredPart {
  /** What is in it. */
  readonly deltas: readonly DeviceDelta[];
  /** Of their devices, see `KnownRows`. */
  readonly indexes: readonly number[];
  /** Packets in it. */
  readonly packets: number;
}

/** A segment as the transaction appended it. */
export interface Appended {
  /** The log that it is in. */
  readonly log: SegmentLog;
  /** The segment. */
  readonly segment: SegmentFacts;
}

/** What one process defers. */
export interface DeferredPacketsOptions {
  /** Devices of a batch from which on it is deferred; 0: never. */
  readonly from: number;
  /** After so long without a change the log of another process is taken over. */
  readonly abandonedMs: number;
  /** Receives how much is deferred, whenever that changes. */
  readonly onAmount: (amount: DeferredAmount) => void;
}

/** The log of one process, and logs it takes over. */
export class DeferredPackets {
  readonly #known = new KnownRows();
  readonly #parts: MergeParts;
  readonly #options: DeferredPacketsOptions;
  readonly #adoption: LogAdoption;
  #log: SegmentLog | undefined;
  #isDeferring = false;
  #merging: Promise<unknown> = Promise.resolve();
  /** How many devices were removed, ever, when this process looked last. */
  #removals: number | undefined;
  readonly #aborted = new AbortController();

  /** `parts` without what this has: which devices are known. */
  constructor(parts: Omit<MergeParts, "rowOf">, options: DeferredPacketsOptions) {
    this.#parts = { ...parts, rowOf: (device) => this.#known.rowOf(device) };
    this.#options = options;
    this.#adoption = new LogAdoption({ ...parts, rowOf: () => 0 }, options.abandonedMs, this.#aborted.signal);
  }

  /** Resolves when there is room in the log. */
  async room(): Promise<void> {
    await this.#log?.room();
  }

  /** Divides a batch, in its transaction. `isIntact`: the file has the producer's batch before. */
  split({ devices, numbering, previous }: Batch, isIntact: boolean): Split {
    if (!isIntact) this.forget();
    // Without one before it, the file may have been emptied since: it does not show.
    if (previous === 0) this.#known.clear();
    const all: Split = { counted: devices, rows: new Uint32Array(devices.length) }, known = this.#known;
    if (!known.numbers(numbering)) return all;
    this.#forgetRemoved();
    const { from } = this.#options;
    this.#isDeferring ||= from > 0 && devices.length >= from;
    const defers = this.#isDeferring && devices.length >= Math.min(MIN_SEGMENT_DEVICES, from);
    const log = this.#log;
    if (!defers && log === undefined) {
      for (let i = 0; i < devices.length; i++) all.rows[i] = known.rowOf(devices[i]!.device!);
      return all;
    }
    const counted: DeviceDelta[] = [],
      rows: number[] = [],
      deltas: DeviceDelta[] = [],
      indexes: number[] = [];
    let packets = 0;
    for (const delta of devices) {
      const row = known.rowOf(delta.device!), index = known.indexOf(delta.device!);
      if (row > 0 && (defers || log?.unmerged.has(index))) {
        deltas.push(delta);
        indexes.push(index);
        packets += delta.packets;
      } else {
        counted.push(delta);
        rows.push(row);
      }
    }
    return {
      counted,
      rows: Uint32Array.from(rows),
      ...(deltas.length > 0 ? { deferred: { deltas, indexes, packets } } : {}),
    };
  }

  /** Appends the segment of a batch, in its transaction. */
  append({ deltas }: DeferredPart, receivedAtMs: number): Appended {
    const { tables } = this.#parts;
    const log = this.#openLog(receivedAtMs), number = log.committed + 1, packed = packDeltas(deltas);
    tables.append(log.log, { number, receivedAtMs, deltas: packed });
    return { log, segment: { number, bytes: packed.length, receivedAtMs } };
  }

  /** A batch is committed; `split.rows` has the rows of what was counted, 0 for devices that were refused. */
  applied({ numbering }: Batch, { counted, rows, deferred }: Split, appended: Appended | undefined): void {
    if (this.#known.numbers(numbering)) this.#remember(counted, rows);
    if (deferred === undefined || appended === undefined) return;
    const { log, segment } = appended;
    log.append(segment, deferred.deltas, deferred.indexes);
    this.#log = log;
    if (!log.isMerging) this.#merging = Promise.all([this.#merging, this.#merge(log)]);
    this.#options.onAmount(this.amount);
  }

  /** The file does not have all that it had: devices must be counted at once before they may be deferred again. */
  forget(): void {
    this.#known.clear();
    this.#log = undefined;
  }

  /** Begins to take over the logs of processes that have ended, unless that was done a moment ago. */
  adopt(): void {
    this.#adoption.begin(this.#log?.log);
  }

  /** What is in the log. */
  get amount(): DeferredAmount {
    return this.#log?.unmerged.amount ?? { packets: 0, bytes: 0 };
  }

  /** Counts what was deferred, for `timeoutMs` at most, and ends. */
  async close(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => this.#aborted.abort(), timeoutMs);
    await Promise.all([this.#merging, this.#adoption.end()]);
    clearTimeout(timer);
    this.#aborted.abort();
  }

  #forgetRemoved(): void {
    const { removals } = this.#parts.tables, before = this.#removals;
    this.#removals = removals;
    if (before === undefined || removals === before) return;
    const rows = this.#parts.tables.removedSince(before, removals);
    if (rows === undefined) this.#known.clear();
    else this.#known.removed(rows);
  }

  /** The log to append to; a new one, if the file does not have it as this process left it. */
  #openLog(sinceMs: number): SegmentLog {
    const { tables } = this.#parts, log = this.#log;
    if (log !== undefined && !log.isLost && !log.isEnded && log.isIntact(tables.read(log.log))) return log;
    const owner = crypto.randomUUID(), name = tables.create(owner, sinceMs);
    return new SegmentLog(this.#parts, { log: name, owner, committed: 0, merged: 0, mergingTo: 0, parts: 0 });
  }

  async #merge(log: SegmentLog): Promise<void> {
    await log.merge(this.#aborted.signal, (generation) => this.#decide(generation));
    if (log.unmerged.generations.length === 0 && this.#log === log) this.#log = undefined;
    this.#options.onAmount(this.amount);
  }

  /** Whether packets go on to be deferred, by how many there were. */
  #decide({ updates, openedAtMs }: Generation<SegmentFacts>): void {
    this.#options.onAmount(this.amount);
    const seconds = (performance.now() - openedAtMs) / 1000;
    // What was appended in the first moment of a log shows nothing.
    if (seconds > 0.5 && updates / seconds < FEW_UPDATES_PER_SECOND) this.#isDeferring = false;
  }

  #remember(counted: readonly DeviceDelta[], rows: Uint32Array): void {
    const known = this.#known;
    for (let i = 0; i < counted.length; i++) {
      const device = counted[i]!.device!;
      if (rows[i] === 0 || known.add(device, rows[i]!)) continue;
      this.forget(); // The generations' indexes are those of before.
      known.restart(device);
      return;
    }
  }
}
