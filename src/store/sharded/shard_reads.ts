/**
 * Reads of all shards, of which some may be late: what the others have is not held up.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import { StoreError } from "../store_error.ts";

/** A read waits so long for a shard; and so long for one that did not answer the last one in time. */
const WAIT_MS = 2_000, LATE_WAIT_MS = 100;

/** The shards of a store, and since when each is late. */
export class ShardReads<Shard> {
  readonly #clock: Clock;
  readonly #lateSinceMs: (number | undefined)[] = [];

  /** None is late yet. */
  constructor(readonly shards: readonly Shard[], clock: Clock) {
    this.#clock = clock;
  }

  /** Since when a shard has not answered, or not in time, Unix ms; undefined: it answers. */
  lateSinceMs(index: number): number | undefined {
    return this.#lateSinceMs[index];
  }

  /** Whether any shard is late. */
  get isAnyLate(): boolean {
    return this.#lateSinceMs.some((sinceMs) => sinceMs !== undefined);
  }

  /** Waits for what a shard returns; rejects with {@linkcode StoreError} if it fails, or is late. */
  async read<T>(index: number, call: (shard: Shard) => Promise<T>): Promise<T> {
    const waitMs = this.#lateSinceMs[index] === undefined ? WAIT_MS : LATE_WAIT_MS;
    try {
      const result = await inTime(call(this.shards[index]!), waitMs);
      this.#lateSinceMs[index] = undefined;
      return result;
    } catch (error) {
      if (error instanceof StoreError) this.#lateSinceMs[index] ??= this.#clock.unixMs();
      throw error;
    }
  }

  /** What each shard returns; undefined: it is late. Rejects as the first one does if all are. */
  async all<T>(
    call: (shard: Shard, index: number) => Promise<T>,
  ): Promise<(T | undefined)[]> {
    const results = await Promise.allSettled(
      this.shards.map((_, index) => this.read(index, (shard) => call(shard, index))),
    );
    const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
    const unexpected = failed.find((error) => !(error instanceof StoreError));
    if (unexpected !== undefined || failed.length === results.length) throw unexpected ?? failed[0];
    return results.map((result) => result.status === "fulfilled" ? result.value : undefined);
  }
}

async function inTime<T>(call: Promise<T>, waitMs: number): Promise<T> {
  let timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new StoreError(`a shard did not answer in ${waitMs} ms`)), waitMs);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}
