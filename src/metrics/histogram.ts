/**
 * Collects a distribution of values: of flushes, calls of the store and the like, never of single packets.
 *
 * @module
 */
import type { HistogramReport } from "./metric.ts";

/** Durations in milliseconds: from what a store on the same machine takes to its timeout. */
export const DURATION_BOUNDS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000] as const;

/** Sizes from one to the largest batch. */
export const SIZE_BOUNDS = [1, 10, 100, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000] as const;

/** Counts values by range. */
export class Histogram {
  readonly #counts: Float64Array;
  #sum = 0;

  /** Without values. `bounds`: see `Metric.bounds`. */
  constructor(readonly bounds: readonly number[]) {
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Adds one value. */
  observe(value: number): void {
    const { bounds } = this;
    let range = 0;
    while (range < bounds.length && value > bounds[range]!) range++;
    this.#counts[range]!++;
    this.#sum += value;
  }

  /** What was added so far. */
  report(): HistogramReport {
    return { counts: [...this.#counts], sum: this.#sum };
  }
}
