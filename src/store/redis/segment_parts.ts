/**
 * The parts in which a log's segments are merged: each has the devices of a bucket of all ids, so that a process that
 * takes a log over in the middle of a merge finds which devices are done.
 *
 * @module
 */
import { PendingDelta, type PendingDeltas } from "../model/pending_deltas.ts";

/** Devices of a part: Redis is busy with them for some 15 ms. */
const PART_DEVICES = 2000;

/** How many buckets a merge of so many devices has. */
export function bucketsOf(devices: number): number {
  return Math.max(1, Math.ceil(devices / PART_DEVICES));
}

/** The bucket of the id `ids[start, end)`, of so many; the same in every process: FNV-1a of its UTF-8. */
function bucketOf(ids: Uint8Array, start: number, end: number, buckets: number): number {
  let hash = 0x811c_9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ ids[i]!, 0x0100_0193);
  // The low bits of FNV alone are too much alike.
  hash ^= hash >>> 15;
  return (hash >>> 0) % buckets;
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
      const of = bucket[entry] = bucketOf(ids, start, idEnds[entry]!, buckets);
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
