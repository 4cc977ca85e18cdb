/**
 * What this process uses, and how late its event loop is, for operators to watch. How many files it has open is
 * not among it: the system tells that only to a process with every permission there is.
 *
 * @module
 */
import { cpuUsage } from "node:process";

/** Of this process, since it started or now. */
export interface ProcessFigures {
  /** Processor time used by all its threads, seconds. */
  readonly cpuSeconds: number;
  /** Memory in use, bytes. */
  readonly residentBytes: number;
  /** The longest that a timer had to wait for its turn during the last minute, milliseconds. */
  readonly eventLoopLagMs: number;
}

/** How often the event loop's lag is measured: a delay of this length is found in any case. */
const LAG_INTERVAL_MS = 250;

/** Lags are kept by periods of so many measurements: 5 s. */
const MEASUREMENTS = 20;

/** Periods kept, the one going on included: a Prometheus server asks once a minute unless told otherwise. */
const PERIODS = 13;

/** Measures from its start on. */
export class ProcessMonitor {
  readonly #now: () => number;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The longest lag of each period, the newest last. */
  #lagsMs = [0];
  #measured = 0;
  #measuredAtMs: number;

  /** `now`: milliseconds on a clock that never goes back. */
  constructor(now: () => number) {
    this.#now = now;
    this.#measuredAtMs = now();
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
    const nowMs = this.#now();
    const lagMs = Math.max(0, nowMs - this.#measuredAtMs - LAG_INTERVAL_MS);
    this.#measuredAtMs = nowMs;
    if (++this.#measured % MEASUREMENTS === 0) this.#lagsMs = [...this.#lagsMs.slice(1 - PERIODS), 0];
    const last = this.#lagsMs.length - 1;
    this.#lagsMs[last] = Math.max(this.#lagsMs[last]!, lagMs);
  }
}
