/**
 * The parts in which a log's segments are merged: each has the devices of a bucket of all ids, so that a process that
 * takes a log over in the middle of a merge finds which devices are done.
 *
 * @module
 */
import { idHash } from "./id_hash.ts";
import { PendingDelta, type PendingDeltas } from "../model/pending_deltas.ts";

/** Devices of a part: Redis is busy with them for some 15 ms. */
const PART_DEVICES = 2000;

/** How many buckets a merge of so many devices has. */
export function bucketsOf(devices: number): number {
  return Math.max(1, Math.ceil(devices / PART_DEVICES));
}

/** The entries of `pending` by bucket. */
export class Parts {
  readonly #order: Int32Array;
  readonly #starts: Int32Array;

  /** Sorts the entries into buckets. */
  constructor(readonly pending: PendingDeltas, readonly buckets: number) {
    const { size, ids, idEnds } = pending;
    const bucket = new Int32Array(size);
    const starts = this.#starts = new Int32Array(buckets + 1);
    for (let entry = 0, start = 0; entry < size; start = idEnds[entry++]!) {
      const of = bucket[entry] = idHash(ids, start, idEnds[entry]!) % buckets;
      starts[of + 1]!++;
    }
    for (let i = 0; i < buckets; i++) starts[i + 1]! += starts[i]!;
    const next = starts.slice(), order = this.#order = new Int32Array(size);
    for (let entry = 0; entry < size; entry++) order[next[bucket[entry]!]!++] = entry;
  }

  /** The deltas of a bucket. */
  deltas(bucket: number): PendingDelta[] {
    const entries = this.#order.subarray(this.#starts[bucket], this.#starts[bucket + 1]);
    return Array.from(entries, (entry) => new PendingDelta(this.pending, entry));
  }
}
