/**
 * Which packets of a batch are counted at once, and which are appended to a segment log and counted later.
 *
 * All are counted at once as long as Redis can: a batch grows only while the one before is being written, so a batch
 * of many devices shows that Redis is busy. From then on devices that the store is known to have go into a segment, until
 * so few come that Redis can count them at once again, and nothing of the device is left in the log. Devices that may be
 * new are always counted at once, for limits are checked there.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { ForeignCounts } from "../model/foreign_counts.ts";
import type { Generation } from "../model/generation.ts";
import type { PendingDelta } from "../model/pending_deltas.ts";
import type { Batch, DeferredAmount, DeviceDelta } from "../packets.ts";
import type { RedisClient } from "./redis_client.ts";
import { KnownDevices } from "./known_devices.ts";
import { adoptLogs } from "./log_adoption.ts";
import { type Segment, SegmentLog } from "./segment_log.ts";

/** Devices of a batch that is deferred, at least: fewer are counted at once. */
const MIN_SEGMENT_DEVICES = 256;

/** With fewer device-updates a second than this, all packets are counted at once again: some 0.2 of Redis's time. */
const FEW_UPDATES_PER_SECOND = 20_000;

/** How often logs of processes that have ended are looked for. */
const ADOPT_EVERY_MS = 5000;

/** What becomes of a batch. */
export interface Split {
  /** Counted at once. */
  readonly counted: readonly DeviceDelta[];
  /** Their positions in the batch; undefined: they are all. */
  readonly positions?: readonly number[];
  /** The segment that holds the rest; undefined: there is no rest. */
  readonly deferred?: DeferredPart;
}

/** The part of a batch that goes into a log. */
export interface DeferredPart {
  /** The log that it goes into. */
  readonly log: SegmentLog;
  /** Of the segment in the log. */
  readonly number: number;
  /** Of the segment's key. */
  readonly name: string;
  /** Packets in it. */
  readonly packets: number;
  /** How many devices were removed, ever, when this process looked last. */
  readonly removals: string;
  /** What is in it. */
  readonly deltas: readonly DeviceDelta[];
  /** Of their devices, see `KnownDevices`. */
  readonly indexes: readonly number[];
}

/** The log of one process, and logs it takes over. */
export class DeferredPackets {
  readonly #known = new KnownDevices();
  #log: SegmentLog | undefined;
  #isDeferring = false;
  #merging: Promise<unknown> = Promise.resolve();
  #merges = 0;
  #adopting: Promise<void> = Promise.resolve();
  #adoptedAtMs = -Infinity;
  #isAdopting = false;
  /** How many devices were removed, ever. */
  #removals = "";
  readonly #aborted = new AbortController();

  /** Devices of a batch from which on it is deferred; 0: never. */
  #from: number;

  /** `from`: devices of a batch from which on it is deferred; 0: never. */
  constructor(
    readonly client: RedisClient,
    readonly foreign: ForeignCounts,
    from: number,
    readonly log: Logger,
  ) {
    this.#from = from;
  }

  /** The user of Redis may not run what it takes. */
  disable(): void {
    this.#from = 0;
    this.log.warn(
      "large batches are counted at once, which is slower: permit PERSIST to the user of Redis and restart",
    );
  }

  /** Divides a batch; waits while the log is full. */
  async split({ devices, numbering, previous }: Batch): Promise<Split> {
    // Without one before it, the store may have been emptied since: it does not show.
    if (previous === 0) this.#known.clear();
    if (this.#from === 0 || !this.#known.numbers(numbering)) return { counted: devices };
    this.#isDeferring ||= devices.length >= this.#from;
    if (!this.#isDeferring && this.#log === undefined) return { counted: devices };
    await this.#log?.room();
    const defers = this.#isDeferring && devices.length >= Math.min(MIN_SEGMENT_DEVICES, this.#from);
    const known = this.#known;
    const counted: DeviceDelta[] = [],
      positions: number[] = [],
      deltas: DeviceDelta[] = [],
      indexes: number[] = [];
    let packets = 0;
    for (let i = 0; i < devices.length; i++) {
      const delta = devices[i]!, index = known.indexOf(delta);
      if (index < 0 || !(defers || this.#log?.unmerged.has(index))) {
        counted.push(delta);
        positions.push(i);
      } else {
        deltas.push(delta);
        indexes.push(index);
        packets += delta.packets;
      }
    }
    if (deltas.length === 0) return { counted: devices };
    const log = this.#openLog(), number = log.committed + 1, removals = this.#removals;
    const name = `${log.name}:${number}:${crypto.randomUUID().slice(0, 8)}`;
    return { counted, positions, deferred: { log, number, name, packets, removals, deltas, indexes } };
  }

  /**
   * A batch is applied; `refused`: positions of devices that were not. `removals`: how many devices were
   * removed, ever.
   */
  applied(
    { numbering, receivedAtMs }: Batch,
    { counted, positions, deferred }: Split,
    refused: readonly number[],
    segmentBytes: number,
    removals: string | undefined,
  ): void {
    // Before the first device is known.
    if (this.#removals === "" && removals !== undefined) this.#removals = removals;
    if (this.#from > 0 && this.#known.numbers(numbering)) this.#remember(counted, positions, refused);
    if (deferred === undefined) return;
    const { log, number, name, deltas, indexes } = deferred;
    if (log !== this.#log) return; // It was lost meanwhile: the process that takes it over finds the segment.
    log.append({ number, name, bytes: segmentBytes, receivedAtMs }, deltas, indexes);
    if (!log.isMerging) this.#merging = Promise.all([this.#merging, this.#merge(log)]);
  }

  /** The store does not have all that it had: devices must be counted at once before they may be deferred again. */
  forget(): void {
    this.#known.clear();
    this.#log = undefined;
  }

  /** The log ended while a segment for it was on its way: the next segment begins another one. */
  logMerged(): void {
    this.#log = undefined;
  }

  /**
   * So many devices were removed, ever; the last of them have these hashes, or are unknown. What they send now is counted
   * at once, as that of new devices.
   */
  removed(removals: string, hashes: readonly number[] | undefined): void {
    this.#removals = removals;
    if (hashes === undefined) this.#known.clear();
    else this.#known.removedHashes(hashes);
  }

  /** Begins to take over the logs of processes that have ended, unless that was done a moment ago. */
  adopt(nowMs = performance.now()): void {
    if (this.#isAdopting || nowMs - this.#adoptedAtMs < ADOPT_EVERY_MS) return;
    this.#adoptedAtMs = nowMs;
    this.#isAdopting = true;
    this.#adopting = adoptLogs(this, this.#log?.name, this.#aborted.signal)
      .catch((error) => this.log.debug("could not take over segment logs: {error}", { error }))
      .finally(() => this.#isAdopting = false);
  }

  /** What is in the log. */
  get amount(): DeferredAmount {
    return this.#log?.unmerged.amount ?? { packets: 0, bytes: 0 };
  }

  /** Whether nothing is being merged. */
  get isIdle(): boolean {
    return this.#merges === 0 && !this.#isAdopting;
  }

  /** Counts what was deferred, for `timeoutMs` at most, and ends. */
  async close(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => this.#aborted.abort(), timeoutMs);
    await Promise.all([this.#merging, this.#adopting]);
    clearTimeout(timer);
    this.#aborted.abort();
  }

  #openLog(): SegmentLog {
    const log = this.#log;
    if (log !== undefined && !log.isLost && !log.isEnded) return log;
    return this.#log = new SegmentLog(this.client, this.foreign, crypto.randomUUID());
  }

  async #merge(log: SegmentLog): Promise<void> {
    const forget = ({ deviceId }: PendingDelta) => this.#known.removedId(deviceId);
    this.#merges++;
    await log.merge(this.#aborted.signal, forget, (generation) => this.#decide(generation));
    this.#merges--;
    if (log.isLost && !log.isGone) {
      this.log.warn("another process took over the segment log of this one, or the store lost it", {
        log: log.name,
      });
      if (this.#log === log) this.forget();
    } else if ((log.isEnded || log.isGone) && this.#log === log) this.#log = undefined;
  }

  /** Whether packets go on to be deferred, by how many there were. */
  #decide({ updates, openedAtMs }: Generation<Segment>): void {
    const seconds = (performance.now() - openedAtMs) / 1000;
    // What was appended in the first moment of a log shows nothing.
    if (seconds > 0.5 && updates / seconds < FEW_UPDATES_PER_SECOND) this.#isDeferring = false;
  }

  #remember(
    counted: readonly DeviceDelta[],
    positions: readonly number[] | undefined,
    refused: readonly number[],
  ): void {
    const known = this.#known, without = new Set(refused);
    for (let i = 0; i < counted.length; i++) {
      if (without.has(positions?.[i] ?? i) || known.add(counted[i]!)) continue;
      this.forget(); // The generations' indexes are those of before.
      known.restart(counted[i]!);
      return;
    }
  }
}
