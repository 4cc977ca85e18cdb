/**
 * What a peer may cost before it is refused or cut off.
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

/** What the budgets need of their connection. */
export interface BudgetHost {
  /** The figures. */
  readonly limits: ConnectionLimits;
  /** Monotonic clock, ms. */
  readonly now: () => number;
}

/** The budgets of one connection; each bucket is made when it is first needed. */
export class AbuseBudget {
  /** Control frames received above those that were explained; whole numbers, as every connection has them. */
  #controlFrames = 0;
  #controlCheckedAtS: number;
  #resets: TokenBucket | undefined;
  #refusals: TokenBucket | undefined;
  #bridged: TokenBucket | undefined;
  #resetsExhausted = false;

  /** See {@linkcode ConnectionLimits} for the figures. */
  constructor(readonly host: BudgetHost) {
    this.#controlCheckedAtS = Math.floor(host.now() / 1000);
  }

  /** A frame that carries nothing; throws when there were too many. */
  controlFrame(cost = 1): void {
    const { controlFrameBurst, controlFramesPerSecond } = this.host.limits;
    if ((this.#controlFrames += cost) <= controlFrameBurst) return;
    const nowS = Math.floor(this.host.now() / 1000);
    const forgiven = Math.min(controlFrameBurst, (nowS - this.#controlCheckedAtS) * controlFramesPerSecond);
    this.#explained(forgiven);
    this.#controlCheckedAtS = nowS;
    if (this.#controlFrames > controlFrameBurst) {
      throw new Http2Error(ENHANCE_YOUR_CALM, "too many frames that carry nothing");
    }
  }

  /** A DATA frame was sent. */
  dataSent(): void {
    if (this.#controlFrames > 0) this.#explained(FRAMES_PER_DATA_SENT);
  }

  /** A call was accepted. */
  callOpened(): void {
    this.#explained(FRAMES_PER_CALL);
  }

  #explained(frames: number): void {
    this.#controlFrames = Math.max(0, this.#controlFrames - frames);
  }

  /** A stream was reset, by the peer or for what it sent. */
  streamReset(): void {
    const { resetBurst, resetsPerSecond } = this.host.limits;
    this.#resets ??= new TokenBucket(resetBurst, resetsPerSecond, this.host.now);
    if (!this.#resets.take()) this.#resetsExhausted = true;
  }

  /** Whether a new call must be refused, because too many were reset; every refill admits one again. */
  refusesCalls(): boolean {
    if (this.#resetsExhausted && this.#resets!.take()) {
      this.#resets!.give(1);
      this.#resetsExhausted = false;
    }
    return this.#resetsExhausted;
  }

  /** A call was refused; false: so many were that the connection should end when its calls have. */
  callRefused(): boolean {
    const { refusalsBeforeGoAway, resetsPerSecond } = this.host.limits;
    this.#refusals ??= new TokenBucket(refusalsBeforeGoAway, resetsPerSecond, this.host.now);
    return this.#refusals.take();
  }

  /** A call is to be bridged; false: there were too many. */
  bridgedCall(): boolean {
    const { bridgedCallBurst, bridgedCallsPerSecond } = this.host.limits;
    this.#bridged ??= new TokenBucket(bridgedCallBurst, bridgedCallsPerSecond, this.host.now);
    return this.#bridged.take();
  }
}
