/**
 * How far each shard has one session.
 *
 * @module
 */
import type { SessionShards } from "../packets.ts";
import { shardOf } from "./shard_of.ts";

/**
 * The name under which a shard keeps how far it has a session. A client's sessions have no control characters, so it is
 * no other session's; the home shard keeps the committed offset under the session's own name.
 */
export function partOf(session: string): string {
  return `${session}\u001f`;
}

/** Of a claim: what the shards had of its session then, and what the batches of its stream have added. */
export class ShardOffsets implements SessionShards {
  /** See {@linkcode SessionShards}. */
  readonly end: number;
  readonly #offsets: (number | undefined)[];

  /** `offsets`: by shard; undefined where a shard does not have the session. */
  constructor(offsets: (number | undefined)[]) {
    this.#offsets = offsets;
    let end = 0;
    for (const offset of offsets) if (offset !== undefined && offset > end) end = offset;
    this.end = end;
  }

  /** Of so many shards, of which nothing is known. */
  static unknown(shards: number): ShardOffsets {
    return new ShardOffsets(new Array(shards).fill(undefined));
  }

  /** See {@linkcode SessionShards}. */
  offsetOf(deviceId: string): number {
    return this.#offsets[shardOf(deviceId, this.#offsets.length)] ?? 0;
  }

  /** The offset in one shard; undefined if that has none. */
  at(shard: number): number | undefined {
    return this.#offsets[shard];
  }

  /** A batch has moved the offset in one shard. */
  moved(shard: number, to: number): void {
    this.#offsets[shard] = to;
  }
}
