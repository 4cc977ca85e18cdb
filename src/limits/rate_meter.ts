/**
 * Packets and bytes a second of one device, or of one identity.
 *
 * @module
 */
import { PacedBucket } from "./paced_bucket.ts";

/** Rates of packets, and of the bytes of their payloads; 0: no limit. Each process counts for itself. */
export interface Rates {
  /** Of one device. */
  readonly devicePacketsPerSecond?: number;
  /** Of one device. */
  readonly deviceBytesPerSecond?: number;
  /** Of one identity, or of one address where there are no identities. */
  readonly identityPacketsPerSecond?: number;
  /** Of one identity, or of one address where there are no identities. */
  readonly identityBytesPerSecond?: number;
}

/** Two buckets, of which either may be missing. */
export class RateMeter {
  readonly #packets: PacedBucket | undefined;
  readonly #bytes: PacedBucket | undefined;

  private constructor(packets: number, bytes: number, now: () => number) {
    this.#packets = packets === 0 ? undefined : new PacedBucket(packets, now);
    this.#bytes = bytes === 0 ? undefined : new PacedBucket(bytes, now);
  }

  /** The meter of one device; undefined: it has no limit. `now`: monotonic clock, ms. */
  static ofDevice(
    { devicePacketsPerSecond: packets = 0, deviceBytesPerSecond: bytes = 0 }: Rates,
    now: () => number,
  ): RateMeter | undefined {
    return packets === 0 && bytes === 0 ? undefined : new RateMeter(packets, bytes, now);
  }

  /** The meter of one identity. */
  static ofIdentity(
    { identityPacketsPerSecond: packets = 0, identityBytesPerSecond: bytes = 0 }: Rates,
    now: () => number,
  ): RateMeter | undefined {
    return packets === 0 && bytes === 0 ? undefined : new RateMeter(packets, bytes, now);
  }

  /** Takes one packet of `bytes` bytes; false: it is to be rejected, as it exceeds the debt that may be waited for. */
  take(bytes: number, maxDebtSeconds: number): boolean {
    if (this.#packets?.take(1, maxDebtSeconds) === false) return false;
    return this.#bytes?.take(bytes, maxDebtSeconds) !== false;
  }

  /** Time to wait, ms; 0: none. */
  get waitMs(): number {
    return Math.max(this.#packets?.waitMs ?? 0, this.#bytes?.waitMs ?? 0);
  }
}
