/**
 * Runs a fuzz target with one seed after the other, and notes the seeds with which it fails.
 *
 * @module
 */
import process from "node:process";

import { type Random, seededRandom } from "../support/random.ts";

/** What is fuzzed. */
export interface FuzzTarget {
  readonly name: string;
  /** Of a million cases asked for, as many are run: fewer, where one is much work. */
  readonly casesPerMillion?: number;
  /** One case; throws when something is not as it must be. */
  run(random: Random): void | Promise<void>;
}

/** What came of it. */
export interface FuzzResult {
  readonly target: string;
  readonly cases: number;
  readonly seconds: number;
  /** The first failures; their text names the seed. */
  readonly failures: readonly string[];
  /** The most memory the process had meanwhile, of its heap and outside of it. */
  readonly peakMemoryBytes: number;
}

/** After so many failures a target is left. */
const MAX_FAILURES = 10;

/** Memory is looked at every so many cases. */
const MEMORY_CHECK_CASES = 500;

/** What is left of all cases is garbage: between two collections it does not come to more. */
const MAX_MEMORY_BYTES = 768 * 2 ** 20;

/** Cases of `target` when `cases` were asked for. */
export function casesOf(target: FuzzTarget, cases: number): number {
  return Math.max(1, Math.round(cases * (target.casesPerMillion ?? 1e6) / 1e6));
}

/**
 * Runs `cases` cases from `firstSeed` on. Errors that are thrown in later turns count as the case's they come in.
 * `onFailure` is called at once for each failure.
 */
export async function fuzz(
  target: FuzzTarget,
  firstSeed: number,
  cases: number,
  onFailure: (failure: string) => void = () => {},
): Promise<FuzzResult> {
  const failures: string[] = [], strays: unknown[] = [];
  const fail = (failure: string) => {
    failures.push(failure);
    onFailure(failure);
  };
  const onStray = (error: unknown) => void strays.push(error);
  process.on("uncaughtException", onStray);
  process.on("unhandledRejection", onStray);
  const startedAtMs = performance.now();
  let done = 0, peakMemoryBytes = 0;
  try {
    for (; done < cases && failures.length < MAX_FAILURES; done++) {
      const seed = firstSeed + done;
      try {
        await target.run(seededRandom(seed));
      } catch (error) {
        strays.push(error);
      }
      for (const error of strays.splice(0)) fail(`--seed ${seed}: ${describe(error)}`);
      if (done % MEMORY_CHECK_CASES !== 0) continue;
      const { heapUsed, external } = Deno.memoryUsage();
      peakMemoryBytes = Math.max(peakMemoryBytes, heapUsed + external);
      if (heapUsed + external > MAX_MEMORY_BYTES) {
        fail(`--seed ${seed}: the process has ${heapUsed + external} bytes of memory`);
        break;
      }
    }
    // What the last case has put off.
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const error of strays.splice(0)) {
      fail(`--seed ${firstSeed + done - 1}, or before: ${describe(error)}`);
    }
  } finally {
    process.off("uncaughtException", onStray);
    process.off("unhandledRejection", onStray);
  }
  const seconds = (performance.now() - startedAtMs) / 1000;
  return { target: target.name, cases: done, seconds, failures, peakMemoryBytes };
}

/** An error of the target's own says all in its text; of any other, the place matters. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.constructor === Error ? error.message : error.stack ?? String(error);
}
