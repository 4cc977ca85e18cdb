/**
 * Versions of several shards as one number.
 *
 * @module
 */

/** Numbers kept: a reader that has an older one scans. */
const KEPT = 1_000;

/**
 * The versions of all shards by the number that was returned for them. A number means nothing to another process; stores
 * of one process may share them.
 */
export class VersionNumbers {
  readonly #versions = new Map<number, readonly number[]>();
  #latest = -1;

  /** The versions of a number; undefined: it is not kept. */
  versions(number: number): readonly number[] | undefined {
    return this.#versions.get(number);
  }

  /** The number of these versions: greater than every earlier one, unless they are those of the latest. */
  number(versions: readonly number[]): number {
    const latest = this.#versions.get(this.#latest);
    if (latest?.every((version, shard) => version === versions[shard])) return this.#latest;
    this.#latest = Math.max(this.#latest + 1, ...versions);
    this.#versions.set(this.#latest, versions);
    if (this.#versions.size > KEPT) this.#versions.delete(this.#versions.keys().next().value!);
    return this.#latest;
  }
}
