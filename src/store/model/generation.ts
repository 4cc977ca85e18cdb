/**
 * Batches of a segment log that are merged into the devices together.
 *
 * @module
 */
import type { DeviceDelta } from "../packets.ts";
import { PendingDeltas } from "./pending_deltas.ts";

/** One batch in a log. */
export interface SegmentFacts {
  /** 1, 2, 3, … in its log. */
  readonly number: number;
  /** Length of it in the store. */
  readonly bytes: number;
  /** When its packets were received, Unix milliseconds. */
  readonly receivedAtMs: number;
}

/** Segments that are merged together: those of one minute, which histories do not divide. */
export class Generation<Segment extends SegmentFacts> {
  /** What they add. */
  readonly pending: PendingDeltas = new PendingDeltas();
  /** Oldest first. */
  readonly segments: Segment[] = [];
  /** When the first of them was appended, on `performance.now`'s clock. */
  readonly openedAtMs: number = performance.now();
  /** Deltas that were added. */
  updates = 0;
  /** Packets that they add. */
  packets = 0;
  /** Its merge has begun: further segments go into another. */
  isSealed = false;

  /** Number + 1 of the entry of each device, by an index that whoever appends gives it; 0: it has none. */
  #entries = new Int32Array(1024);

  /** None yet. */
  constructor(readonly minute: number) {}

  /** Adds the deltas of a segment; `indexes`: of their devices. */
  add(deltas: readonly DeviceDelta[], indexes: ArrayLike<number>, receivedAtMs: number): void {
    const { pending } = this;
    this.updates += deltas.length;
    for (let i = 0; i < deltas.length; i++) {
      const index = indexes[i]!;
      this.packets += deltas[i]!.packets;
      if (index >= this.#entries.length) this.#grow(index);
      const entry = this.#entries[index]!;
      if (entry > 0) pending.add(entry - 1, deltas[i]!, receivedAtMs);
      else this.#entries[index] = pending.addEntry(deltas[i]!, receivedAtMs) + 1;
    }
  }

  /** Whether the device of this index has an entry. */
  has(index: number): boolean {
    return (this.#entries[index] ?? 0) > 0;
  }

  #grow(index: number): void {
    const entries = new Int32Array(2 ** Math.ceil(Math.log2(index + 1)));
    entries.set(this.#entries);
    this.#entries = entries;
  }
}
