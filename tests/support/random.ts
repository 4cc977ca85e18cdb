/**
 * Random numbers that can be had again: a failing property test prints its seed.
 *
 * @module
 */

/** A source of random numbers. */
export interface Random {
  /** An integer from `min` to `max`, both included. */
  int(min: number, max: number): number;
  /** One of `items`. */
  pick<T>(items: readonly T[]): T;
  /** `length` random bytes. */
  bytes(length: number): Uint8Array<ArrayBuffer>;
  /** True with the given probability. */
  chance(probability: number): boolean;
}

/** The same seed gives the same numbers (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  const next = () => {
    state = state + 0x6d2b79f5 | 0;
    let bits = Math.imul(state ^ state >>> 15, 1 | state);
    bits = bits + Math.imul(bits ^ bits >>> 7, 61 | bits) ^ bits;
    return ((bits ^ bits >>> 14) >>> 0) / 2 ** 32;
  };
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    int,
    pick: (items) => items[int(0, items.length - 1)]!,
    bytes: (length) => {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = int(0, 255);
      return bytes;
    },
    chance: (probability) => next() < probability,
  };
}

/** Runs `property` with `runs` seeds; a failure names the seed. `SEED` in the environment runs only that one. */
export async function forSeeds(
  runs: number,
  property: (random: Random) => void | Promise<void>,
): Promise<void> {
  const only = Deno.env.get("SEED");
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
  for (let seed = first; seed < first + (only === undefined ? runs : 1); seed++) {
    try {
      await property(seededRandom(seed));
    } catch (error) {
      throw new Error(`fails with SEED=${seed}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
  }
}
