/**
 * A budget that refills with time.
 *
 * @module
 */

/** So many at once, and so many a second after that. */
export class TokenBucket {
  #tokens: number;
  #refilledAtMs: number;

  /** Full at first. `now`: monotonic, ms. */
  constructor(readonly capacity: number, readonly perSecond: number, readonly now: () => number) {
    this.#tokens = capacity;
    this.#refilledAtMs = now();
  }

  /** Takes `tokens`; false, and takes none, when there are not as many. The clock is read only when they run short. */
  take(tokens = 1): boolean {
    if (this.#tokens < tokens) this.#refill();
    if (this.#tokens < tokens) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** Gives `tokens`, up to the capacity. */
  give(tokens: number): void {
    this.#tokens = Math.min(this.capacity, this.#tokens + tokens);
  }

  #refill(): void {
    const nowMs = this.now();
    this.give((nowMs - this.#refilledAtMs) / 1000 * this.perSecond);
    this.#refilledAtMs = nowMs;
  }
}
