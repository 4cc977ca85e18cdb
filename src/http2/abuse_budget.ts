/**
 * Budgets for abuse: control frames, resets, refused calls and bridged calls that one connection may cause before its
 * calls are refused or it is closed.
 *
 * @module
 */
import { ENHANCE_YOUR_CALM, Http2Error } from "./frames.ts";
import type { ConnectionLimits } from "./limits.ts";
import { TokenBucket } from "./token_bucket.ts";

/** Control frames that a DATA frame sent to the peer justifies: WINDOW_UPDATE of stream and connection, and a PING. */
const FRAMES_PER_DATA_SENT = 3;

/** Control frames that a call justifies: its WINDOW_UPDATE frames, as some clients send them, PRIORITY and RST_STREAM. */
const FRAMES_PER_CALL = 4;

/**
 * Control frames for each of the streams that may be open which stay justified until they come: a proxy sends those of
 * 1,000 devices at once, after their Acks or when the devices vanish.
 */
const SAVED_FRAMES_PER_STREAM = 4;

/** The part of a connection that its budgets use. */
export interface BudgetHost {
  /** Sizes and refill rates of the budgets. */
  readonly limits: ConnectionLimits;
  /** Monotonic clock, ms. */
  readonly now: () => number;
}

/** The budgets of one connection; each bucket is created when it is first needed. */
export class AbuseBudget {
  /**
   * Control frames received, less those that are justified; negative: further ones are. Integers, not a
   * {@linkcode TokenBucket}: every connection has them.
   */
  #controlFrames = 0;
  #controlCheckedAtS: number;
  #resets: TokenBucket | undefined;
  #refusals: TokenBucket | undefined;
  #bridged: TokenBucket | undefined;
  #resetsExhausted = false;

  /** All budgets are full; their sizes and rates are those of `host.limits`. */
  constructor(readonly host: BudgetHost) {
    this.#controlCheckedAtS = Math.floor(host.now() / 1000);
  }

  /** Charges `cost` control frames; throws {@linkcode Http2Error} when the budget is exceeded. */
  controlFrame(cost = 1): void {
    const { controlFrameBurst, controlFramesPerSecond } = this.host.limits;
    if ((this.#controlFrames += cost) <= controlFrameBurst) return;
    const nowS = Math.floor(this.host.now() / 1000);
    const refill = Math.min(controlFrameBurst, (nowS - this.#controlCheckedAtS) * controlFramesPerSecond);
    this.#justify(refill);
    this.#controlCheckedAtS = nowS;
    if (this.#controlFrames > controlFrameBurst) {
      throw new Http2Error(ENHANCE_YOUR_CALM, "too many control frames");
    }
  }

  /** A DATA frame was sent: allows the control frames that it justifies. */
  dataSent(): void {
    this.#justify(FRAMES_PER_DATA_SENT);
  }

  /** A call was accepted: allows the control frames that it justifies. */
  callOpened(): void {
    this.#justify(FRAMES_PER_CALL);
  }

  #justify(frames: number): void {
    const savedFrames = SAVED_FRAMES_PER_STREAM * this.host.limits.maxConcurrentStreams;
    this.#controlFrames = Math.max(-savedFrames, this.#controlFrames - frames);
  }

  /** Charges a stream that the peer reset, or that was reset because of what the peer sent. */
  streamReset(): void {
    const { resetBurst, resetsPerSecond } = this.host.limits;
    this.#resets ??= new TokenBucket(resetBurst, resetsPerSecond, this.host.now);
    if (!this.#resets.take()) this.#resetsExhausted = true;
  }

  /** Whether a new call must be refused because too many streams were reset; each refilled token admits one call. */
  refusesCalls(): boolean {
    if (this.#resetsExhausted && this.#resets!.take()) {
      this.#resets!.give(1);
      this.#resetsExhausted = false;
    }
    return this.#resetsExhausted;
  }

  /** Charges a refused call; false: over the limit, and the connection should drain. */
  callRefused(): boolean {
    const { refusalsBeforeGoAway, resetsPerSecond } = this.host.limits;
    this.#refusals ??= new TokenBucket(refusalsBeforeGoAway, resetsPerSecond, this.host.now);
    return this.#refusals.take();
  }

  /** Charges a call for the bridge; false: over the limit, and the call must be refused. */
  bridgedCall(): boolean {
    const { bridgedCallBurst, bridgedCallsPerSecond } = this.host.limits;
    this.#bridged ??= new TokenBucket(bridgedCallBurst, bridgedCallsPerSecond, this.host.now);
    return this.#bridged.take();
  }
}
