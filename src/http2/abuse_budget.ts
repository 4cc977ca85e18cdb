/**
 * What a peer may cost before it is refused or cut off: token buckets, each made when it is first needed.
 *
 * @module
 */
import { ENHANCE_YOUR_CALM, Http2Error } from "./frames.ts";
import type { ConnectionLimits } from "./limits.ts";
import { TokenBucket } from "./token_bucket.ts";

/** Control frames that a DATA frame sent from here explains: WINDOW_UPDATE of stream and connection, and a PING. */
const FRAMES_PER_DATA_SENT = 3;

/** Control frames that a call explains: its WINDOW_UPDATE frames, as some clients send them, and PRIORITY. */
const FRAMES_PER_CALL = 4;

/** The budgets of one connection; see {@linkcode ConnectionLimits} for the figures. */
export class AbuseBudget {
  #control: TokenBucket | undefined;
  #resets: TokenBucket | undefined;
  #refusals: TokenBucket | undefined;
  #bridged: TokenBucket | undefined;
  #resetsExhausted = false;

  /** `now`: monotonic, ms. */
  constructor(readonly limits: ConnectionLimits, readonly now: () => number) {}

  /** A frame that carries nothing; throws when there were too many. */
  controlFrame(cost = 1): void {
    const { controlFrameBurst, controlFramesPerSecond } = this.limits;
    this.#control ??= new TokenBucket(controlFrameBurst, controlFramesPerSecond, this.now);
    if (!this.#control.take(cost)) {
      throw new Http2Error(ENHANCE_YOUR_CALM, "too many frames that carry nothing");
    }
  }

  /** A DATA frame was sent. */
  dataSent(): void {
    this.#control?.give(FRAMES_PER_DATA_SENT);
  }

  /** A call was accepted. */
  callOpened(): void {
    this.#control?.give(FRAMES_PER_CALL);
  }

  /** A stream was reset, by the peer or for what it sent. */
  streamReset(): void {
    const { resetBurst, resetsPerSecond } = this.limits;
    this.#resets ??= new TokenBucket(resetBurst, resetsPerSecond, this.now);
    if (!this.#resets.take()) this.#resetsExhausted = true;
  }

  /** Whether a new call must be refused, because too many were reset. */
  get refusesCalls(): boolean {
    if (this.#resetsExhausted && this.#resets!.take()) {
      this.#resets!.give(1);
      this.#resetsExhausted = false;
    }
    return this.#resetsExhausted;
  }

  /** A call was refused; false: so many were that the connection should end when its calls have. */
  callRefused(): boolean {
    const { refusalsBeforeGoAway, resetsPerSecond } = this.limits;
    this.#refusals ??= new TokenBucket(refusalsBeforeGoAway, resetsPerSecond, this.now);
    return this.#refusals.take();
  }

  /** A call is to be bridged; false: there were too many. */
  bridgedCall(): boolean {
    const { bridgedCallBurst, bridgedCallsPerSecond } = this.limits;
    this.#bridged ??= new TokenBucket(bridgedCallBurst, bridgedCallsPerSecond, this.now);
    return this.#bridged.take();
  }
}
