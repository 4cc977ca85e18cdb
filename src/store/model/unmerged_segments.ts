/**
 * The segments of a log that are not merged yet, as far as this process knows them, and how hurried merging them is.
 *
 * @module
 */
import type { DeferredAmount, DeviceDelta } from "../packets.ts";
import { Generation, type SegmentFacts } from "./generation.ts";

/** Packets are in the counts after some seconds more than this at most, as long as the store has the time for it. */
const MERGE_AFTER_MS = 10_000;

/** Size of a log: as much, or as many bytes for each of its devices. A commit waits as long as there is more. */
const MIN_LOG_BYTES = 64 * 2 ** 20, LOG_BYTES_PER_DEVICE = 256;

/** After so long without a commit, merging does not spare the store. */
const IDLE_MS = 100;

/** See the module. */
export class UnmergedSegments<Segment extends SegmentFacts> {
  /** Oldest first. */
  readonly generations: Generation<Segment>[] = [];
  #bytes = 0;
  #appendedAtMs = 0;
  #waiting: (() => void)[] = [];

  /** A segment was committed, with these deltas. `indexes`: of their devices in {@linkcode Generation.add}. */
  append(segment: Segment, deltas: readonly DeviceDelta[], indexes: ArrayLike<number>): void {
    this.#bytes += segment.bytes;
    this.#appendedAtMs = performance.now();
    const minute = Math.floor(segment.receivedAtMs / 60_000);
    let generation = this.generations.at(-1);
    if (generation === undefined || generation.isSealed || generation.minute !== minute) {
      this.generations.push(generation = new Generation<Segment>(minute));
    }
    generation.segments.push(segment);
    generation.add(deltas, indexes, segment.receivedAtMs);
  }

  /** All of the oldest generation is merged. */
  removeOldest(): void {
    for (const { bytes } of this.generations.shift()?.segments ?? []) this.#bytes -= bytes;
    this.release();
  }

  /** What is in the log. */
  get amount(): DeferredAmount {
    return {
      packets: this.generations.reduce((sum, { packets }) => sum + packets, 0),
      bytes: this.#bytes,
    };
  }

  /** Whether packets of the device of this index are in it: what is newer must be merged after them. */
  has(index: number): boolean {
    return this.generations.some((generation) => generation.has(index));
  }

  /** Resolves when there is room for a segment, or `isOpen` returns false. */
  async room(isOpen: () => boolean): Promise<void> {
    while (isOpen() && this.#bytes >= this.#maxBytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Has those that wait for room look again. */
  release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }

  /** In which share of the time to merge now, at most 1: the older and larger the log, the more, and no less than `least`. */
  mergeShare({ openedAtMs }: Generation<Segment>, least: number): number {
    const nowMs = performance.now();
    if (nowMs - this.#appendedAtMs > IDLE_MS) return 1;
    const urgency = Math.max(this.#bytes / this.#maxBytes / 0.75, (nowMs - openedAtMs) / MERGE_AFTER_MS);
    return Math.min(1, Math.max(least, urgency));
  }

  get #maxBytes(): number {
    let devices = 0;
    for (const { pending } of this.generations) devices += pending.size;
    return Math.max(MIN_LOG_BYTES, LOG_BYTES_PER_DEVICE * devices);
  }
}
