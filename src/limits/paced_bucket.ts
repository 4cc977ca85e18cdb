/**
 * A rate that is kept by waiting: what is above it becomes a debt, and nothing more is read until that is paid.
 *
 * @module
 */

/**
 * Holds the tokens of one second, and a debt of `maxDebtSeconds` at the most: what would exceed that is to be refused.
 */
export class PacedBucket {
  #tokens: number;
  #refilledAtMs: number;

  /** Full at first. `now`: monotonic clock, ms. */
  constructor(readonly perSecond: number, readonly now: () => number) {
    this.#tokens = perSecond;
    this.#refilledAtMs = now();
  }

  /**
   * Takes `tokens`, on credit if need be; false, and takes none, when the debt would exceed `maxDebtSeconds`. Reads the
   * clock only when there are too few.
   */
  take(tokens: number, maxDebtSeconds: number): boolean {
    if (this.#tokens < tokens) this.#refill();
    // Without a debt anything passes: one packet may be larger than the bytes of a second.
    if (this.#tokens <= 0 && this.#tokens - tokens < -maxDebtSeconds * this.perSecond) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** Time until the debt is paid, ms; 0: there is none. */
  get waitMs(): number {
    if (this.#tokens >= 0) return 0;
    this.#refill();
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens / this.perSecond * 1000);
  }

  #refill(): void {
    const nowMs = this.now();
    this.#tokens = Math.min(
      this.perSecond,
      this.#tokens + (nowMs - this.#refilledAtMs) / 1000 * this.perSecond,
    );
    this.#refilledAtMs = nowMs;
  }
}
