/**
 * Slows failed attempts to authenticate, address by address.
 *
 * A token of Tally's own cannot be guessed: this bounds what guessing costs the store. Tokens in use are not slowed: see
 * `access.ts`.
 *
 * @module
 */

/** Failures of one address, or of one IPv6 /64 network, that have no consequence. */
const FREE_FAILURES = 10;

/** After these, one further failure in this time. */
const FORGIVEN_AFTER_MS = 3_000;

/** Failures beyond the free ones that are remembered: they bound the longest wait, 33 s. */
const MAX_DEBT = 10;

/** Addresses remembered, some 100 bytes each; for a further one, the one that failed least recently is forgotten. */
const MAX_ADDRESSES = 10_000;

/** Failures by address, each forgiven with time. */
export class FailedAttempts {
  readonly #now: () => number;
  /** By address; the one that failed least recently is first. */
  readonly #byAddress = new Map<string, { failures: number; sinceMs: number }>();

  /** `now`: milliseconds that never go back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Milliseconds until the address may try again; 0: at once. */
  waitMs(address: string): number {
    const waitFor = this.#failuresOf(address) - FREE_FAILURES + 1;
    return Math.max(0, Math.ceil(waitFor * FORGIVEN_AFTER_MS));
  }

  /** An attempt of the address failed. */
  failed(address: string): void {
    const failures = Math.min(this.#failuresOf(address) + 1, FREE_FAILURES + MAX_DEBT);
    this.#byAddress.delete(address);
    this.#byAddress.set(address, { failures, sinceMs: this.#now() });
    if (this.#byAddress.size > MAX_ADDRESSES) {
      const [oldest] = this.#byAddress.keys();
      this.#byAddress.delete(oldest!);
    }
  }

  /** Not a whole number: each is forgiven bit by bit. */
  #failuresOf(address: string): number {
    const entry = this.#byAddress.get(address);
    if (entry === undefined) return 0;
    return Math.max(0, entry.failures - (this.#now() - entry.sinceMs) / FORGIVEN_AFTER_MS);
  }
}
