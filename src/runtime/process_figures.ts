/**
 * Resource usage and event-loop lag of this process. Open file descriptors are not included: Deno requires all
 * permissions to read them from /proc.
 *
 * @module
 */
import { cpuUsage } from "node:process";

import type { Clock } from "./clock.ts";

/** Totals since the process started, and current values. */
export interface ProcessFigures {
  /** Processor time used by all its threads, seconds. */
  readonly cpuSeconds: number;
  /** Memory in use, bytes. */
  readonly residentBytes: number;
  /** Greatest delay of a timer during the last minute, milliseconds. */
  readonly eventLoopLagMs: number;
}

/** How often the event-loop lag is measured: any delay longer than this is detected. */
const LAG_INTERVAL_MS = 250;

/** Lags are kept by periods of so many measurements: 5 s. */
const MEASUREMENTS = 20;

/** Periods kept, the current one included: a Prometheus server scrapes once a minute by default. */
const PERIODS = 13;

/** Measures from its start on. */
export class ProcessMonitor {
  readonly #clock: Clock;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The longest lag of each period, the newest last. */
  #lagsMs = [0];
  #measured = 0;
  #measuredAtMs: number;

  /** `clock`: the one that timers follow, the system's. */
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#measuredAtMs = clock.monotonicMs();
    this.#timer = setInterval(() => this.#measure(), LAG_INTERVAL_MS);
  }

  /** The figures now. */
  get figures(): ProcessFigures {
    const { user, system } = cpuUsage();
    return {
      cpuSeconds: (user + system) / 1_000_000,
      residentBytes: Deno.memoryUsage().rss,
      eventLoopLagMs: Math.max(...this.#lagsMs),
    };
  }

  /** Measures no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  #measure(): void {
    const nowMs = this.#clock.monotonicMs();
    const lagMs = Math.max(0, nowMs - this.#measuredAtMs - LAG_INTERVAL_MS);
    this.#measuredAtMs = nowMs;
    if (++this.#measured % MEASUREMENTS === 0) this.#lagsMs = [...this.#lagsMs.slice(1 - PERIODS), 0];
    const last = this.#lagsMs.length - 1;
    this.#lagsMs[last] = Math.max(this.#lagsMs[last]!, lagMs);
  }
}
