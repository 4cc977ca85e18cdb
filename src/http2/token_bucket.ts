/**
 * Rate limit with a burst.
 *
 * @module
 */

/** Token bucket: holds `capacity` tokens at most, and is refilled with `perSecond` tokens a second. */
export class TokenBucket {
  #tokens: number;
  #refilledAtMs: number;

  /** Full at first. `now`: monotonic clock, ms. */
  constructor(readonly capacity: number, readonly perSecond: number, readonly now: () => number) {
    this.#tokens = capacity;
    this.#refilledAtMs = now();
  }

  /** Takes `tokens`; false, and takes none, when there are fewer. Reads the clock only when there are too few. */
  take(tokens = 1): boolean {
    if (this.#tokens < tokens) this.#refill();
    if (this.#tokens < tokens) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** Adds `tokens`, up to the capacity. */
  give(tokens: number): void {
    this.#tokens = Math.min(this.capacity, this.#tokens + tokens);
  }

  #refill(): void {
    const nowMs = this.now();
    this.give((nowMs - this.#refilledAtMs) / 1000 * this.perSecond);
    this.#refilledAtMs = nowMs;
  }
}
