/**
 * One clock for every process that shares a store: the store's.
 *
 * Times that different processes write and compare, such as when a device was last seen, must come from one
 * clock. It is Redis's own, measured once a second, and the machine's with SQLite, whose processes share one
 * machine. In between it runs on the monotonic clock, so that a machine's clock may be wrong or set;
 * a jump of the store's own clock is followed only once it has lasted.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { Clock } from "../runtime/clock.ts";
import type { Store } from "./store.ts";

/** Time between measurements of the store's clock. */
const MEASURE_INTERVAL_MS = 1000;

/** A jump that is over sooner is not followed: clocks are set wrong and right again. */
const FOLLOW_AFTER_MS = 10_000;

/** Smaller differences are no jump: the clock is corrected at once. */
const JUMP_MS = 250;

/** A measurement that took longer is too inexact. */
const MAX_ROUND_TRIP_MS = 1000;

/** A machine's clock that differs by more is reported. */
const DIFFERENCE_MS = 2000;

/** What {@linkcode StoreClock} needs. */
export interface StoreClockOptions {
  /** The store whose clock it is. */
  readonly store: Pick<Store, "status" | "trimFleetHistory">;
  /** The machine's clock. */
  readonly clock: Clock;
  /** Receives a line when the machine's clock and the store's begin or cease to differ, and when a jump is followed. */
  readonly log: Logger;
}

/** What was found at the latest measurement. */
export interface StoreHealth {
  /** How far the machine's clock is ahead of the store's, in whole seconds as milliseconds; negative: behind. */
  readonly clockAheadMs: number;
  /** What the store evicts when its memory is full; undefined if nothing. */
  readonly evictionPolicy: string | undefined;
  /** How late the counts of devices are, ms: see `StoreStatus`. */
  readonly countsLateMs: number;
}

/** Of a store that was not measured. */
export const unmeasuredHealth: StoreHealth = { clockAheadMs: 0, evictionPolicy: undefined, countsLateMs: 0 };

/** See the module. */
export class StoreClock implements Clock {
  readonly #options: StoreClockOptions;
  /** The store's time minus the monotonic one. */
  #offsetMs: number;
  #isMeasured = false;
  #jump: { readonly offsetMs: number; readonly sinceMs: number } | undefined;
  #health = unmeasuredHealth;
  #differs = false;
  #trimming: Promise<void> | undefined;

  /** Measures nothing yet. */
  constructor(options: StoreClockOptions) {
    this.#options = options;
    this.#offsetMs = options.clock.unixMs() - options.clock.monotonicMs();
  }

  /** The store's time, an integer; the machine's until the store has responded once. */
  unixMs(): number {
    return Math.floor(this.monotonicMs() + this.#offsetMs);
  }

  /** The machine's monotonic clock. */
  monotonicMs(): number {
    return this.#options.clock.monotonicMs();
  }

  /** See {@linkcode StoreHealth}. */
  get health(): StoreHealth {
    return this.#health;
  }

  /** Measures the store's clock. Never rejects: while the store does not answer, the clock runs on. */
  async measure(): Promise<void> {
    const { store, clock } = this.#options;
    const sentMs = clock.monotonicMs();
    const status = await store.status().catch(() => undefined);
    const receivedMs = clock.monotonicMs();
    if (status === undefined || receivedMs - sentMs > MAX_ROUND_TRIP_MS) return;
    const { clockMs, evictionPolicy, countsLateMs = 0 } = status;
    if (clockMs === undefined) this.#take(clock.unixMs() - receivedMs, 1, receivedMs);
    else this.#take(clockMs - (sentMs + receivedMs) / 2, (receivedMs - sentMs) / 2 + 1, receivedMs);
    await this.#trimming; // The charts are not worth a second attempt.
    const aheadMs = clock.unixMs() - this.unixMs();
    this.#health = { clockAheadMs: Math.round(aheadMs / 1000) * 1000 + 0, evictionPolicy, countsLateMs };
    this.#report(aheadMs);
  }

  /** Measures once a second until the function it returns is called, which resolves when the last one is done. */
  start(): () => Promise<void> {
    let measuring = Promise.resolve();
    let isBusy = false;
    const timer = setInterval(() => {
      if (isBusy) return;
      isBusy = true;
      measuring = this.measure().finally(() => isBusy = false);
    }, MEASURE_INTERVAL_MS);
    return () => {
      clearInterval(timer);
      return measuring;
    };
  }

  /** `errorMs`: what the measured offset may be wrong by. */
  #take(offsetMs: number, errorMs: number, atMs: number): void {
    const differenceMs = offsetMs - this.#offsetMs;
    if (Math.abs(differenceMs) <= Math.max(JUMP_MS, errorMs) || !this.#isMeasured) {
      // Within the error it may well be right as it is.
      if (Math.abs(differenceMs) > errorMs || !this.#isMeasured) this.#offsetMs = offsetMs;
      this.#isMeasured = true;
      this.#jump = undefined;
      return;
    }
    const goesOn = this.#jump !== undefined &&
      Math.abs(offsetMs - this.#jump.offsetMs) <= 2 * JUMP_MS + errorMs;
    if (!goesOn) this.#jump = { offsetMs, sinceMs: atMs };
    else if (atMs - this.#jump!.sinceMs >= FOLLOW_AFTER_MS) {
      const { log, store } = this.#options;
      log.warn("the store's clock jumped by {jumpMs} ms; it is followed now", {
        jumpMs: Math.round(differenceMs),
      });
      this.#offsetMs = offsetMs;
      this.#jump = undefined;
      if (differenceMs < 0) this.#trimming = store.trimFleetHistory(this.unixMs()).catch(() => {});
    }
  }

  #report(aheadMs: number): void {
    const differs = Math.abs(aheadMs) > (this.#differs ? DIFFERENCE_MS / 2 : DIFFERENCE_MS);
    if (differs === this.#differs) return;
    this.#differs = differs;
    const { log } = this.#options;
    if (differs) {
      log.warn(
        "this machine's clock is {differenceMs} ms {direction} the store's, which is used: set it by NTP",
        {
          differenceMs: Math.abs(aheadMs),
          direction: aheadMs > 0 ? "ahead of" : "behind",
        },
      );
    } else log.info("this machine's clock and the store's agree again");
  }
}
