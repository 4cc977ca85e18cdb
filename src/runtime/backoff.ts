/**
 * Exponential back-off with jitter: the waits of everything that tries again.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

/** Bounds and sources of a {@linkcode Backoff}. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in milliseconds; each further bound is twice the one before. */
  readonly firstMs: number;
  /** Upper bound of every wait, in milliseconds. */
  readonly maxMs: number;
  /**
   * The part of each wait that is random, from 0 to 1: with 0.5, the default, a wait is between half of its
   * bound and its bound, with 1 between 0 and its bound, with 0 exactly its bound.
   */
  readonly jitter?: number;
  /** From 0 to below 1; default `Math.random`. */
  readonly random?: () => number;
  /** Resolves after so many milliseconds, or rejects when `signal` is aborted; default a timer. */
  readonly timer?: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** The failures in a row of one thing that is tried again, and the wait after each. */
export class Backoff {
  #failures = 0;

  /** No failures so far. */
  constructor(readonly options: BackoffOptions) {}

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure; returns how long to wait before the next attempt, in milliseconds. */
  failed(): number {
    const { firstMs, maxMs, jitter = 0.5, random = Math.random } = this.options;
    const boundMs = Math.min(firstMs * 2 ** this.#failures++, maxMs);
    return boundMs * (1 - jitter * random());
  }

  /** Counts a success: the next failure is the first of its row. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** Waits so many milliseconds; when `signal` is aborted, it ends at once. Never rejects. */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    const { timer = (ms, signal) => delay(ms, undefined, signal && { signal }) } = this.options;
    await timer(ms, signal).catch(() => {}); // aborted
  }
}
