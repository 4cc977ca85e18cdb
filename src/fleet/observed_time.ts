/**
 * The time in which packets could have been received and read: only in it does a device that sends nothing become
 * offline.
 *
 * Excluded are the time in which no ingest process reported, as when it was paused, killed or cut off from the store;
 * in which this process did not run itself; and what a jump of the clock adds.
 *
 * @module
 */
import type { Clock } from "../runtime/clock.ts";

/** Ingest processes report once a second; a longer time between two reports is a gap. */
const REPORT_GRACE_MS = 3_000;

/** After a gap, packets that wait in sockets are read, and devices connect again. */
const CATCH_UP_MS = 5_000;

/** This process was paused when nothing ran for so long; {@linkcode ObservedTime.tick} is called far more often. */
const PAUSE_MS = 2_000;

/** The clock jumped when it and the monotonic one differ by more. */
const JUMP_MS = 1_000;

/** Gaps kept at most; the oldest are dropped first. */
const MAX_GAPS = 1_000;

/** How often {@linkcode ObservedTime.tick} is to be called. */
export const TICK_INTERVAL_MS = 500;

/** What {@linkcode ObservedTime} needs. */
export interface ObservedTimeOptions {
  /** A device that sends nothing for longer is offline. */
  readonly offlineAfterMs: number;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
  /** True: time counts only while an ingest reports. False: also before the first one was seen. */
  readonly ingestRequired: boolean;
}

/** A time that does not count, Unix milliseconds. */
interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Keeps the gaps in the time observed. */
export class ObservedTime {
  readonly #options: ObservedTimeOptions;
  /** Oldest first. */
  #gaps: Gap[] = [];
  /** When an ingest reported last; undefined: time counts without one. */
  #reportedMs: number | undefined;
  #tick: { readonly realMs: number; readonly nowMs: number; readonly unixMs: number };

  /** Time before this counts as observed. */
  constructor(options: ObservedTimeOptions) {
    this.#options = options;
    this.#tick = this.#clocks();
    if (options.ingestRequired) this.#reportedMs = this.#tick.unixMs;
  }

  /** Detects pauses of this process and jumps of the clock. */
  tick(): void {
    const before = this.#tick, after = this.#tick = this.#clocks();
    const ranMs = after.realMs - before.realMs;
    const jumpMs = after.unixMs - before.unixMs - (after.nowMs - before.nowMs);
    if (jumpMs < -JUMP_MS) {
      // All gaps lie in the future now.
      this.#gaps = [];
      if (this.#reportedMs !== undefined) this.#reportedMs = Math.min(this.#reportedMs, after.unixMs);
    } else if (ranMs > PAUSE_MS || jumpMs > JUMP_MS) this.#add(before.unixMs, after.unixMs + CATCH_UP_MS);
  }

  /** Takes the time of the newest report of any ingest process, if there is one. */
  reported(newestMs: number | undefined): void {
    if (newestMs === undefined) return;
    const last = this.#reportedMs;
    if (last !== undefined && newestMs - last > REPORT_GRACE_MS) this.#add(last, newestMs + CATCH_UP_MS);
    this.#reportedMs = Math.max(last ?? newestMs, newestMs);
  }

  /** Milliseconds of observed time since `fromMs`. */
  observedSince(fromMs: number, nowMs: number): number {
    const reportedMs = this.#reportedMs;
    const untilMs = reportedMs === undefined ? nowMs : Math.min(nowMs, reportedMs);
    let observedMs = Math.max(0, untilMs - fromMs);
    for (let i = this.#gaps.length - 1; i >= 0; i--) {
      const gap = this.#gaps[i]!;
      if (gap.toMs <= fromMs) break;
      observedMs -= Math.max(0, Math.min(gap.toMs, untilMs) - Math.max(gap.fromMs, fromMs));
    }
    return observedMs;
  }

  /** A device last seen before this has sent nothing for longer than `offlineAfterMs` of observed time. */
  offlineBeforeMs(nowMs: number): number {
    this.tick();
    let leftMs = this.#options.offlineAfterMs, atMs = nowMs;
    const reportedMs = this.#reportedMs;
    // Only the next report shows whether the time since the newest one counts.
    if (reportedMs !== undefined) atMs = Math.min(nowMs, reportedMs);
    for (let i = this.#gaps.length - 1; i >= 0; i--) {
      const { fromMs, toMs } = this.#gaps[i]!;
      const observedMs = Math.max(0, atMs - toMs);
      if (observedMs >= leftMs) break;
      leftMs -= observedMs;
      atMs = Math.min(atMs, fromMs);
    }
    return atMs - leftMs;
  }

  #add(fromMs: number, toMs: number): void {
    const last = this.#gaps.at(-1);
    if (last !== undefined && fromMs <= last.toMs) {
      this.#gaps[this.#gaps.length - 1] = {
        fromMs: Math.min(last.fromMs, fromMs),
        toMs: Math.max(last.toMs, toMs),
      };
    } else if (this.#gaps.push({ fromMs, toMs }) > MAX_GAPS) this.#gaps.shift();
  }

  /** The real clock besides: a test may let minutes pass on the others at once, which is no pause. */
  #clocks() {
    return {
      realMs: performance.now(),
      nowMs: this.#options.clock.monotonicMs(),
      unixMs: this.#options.clock.unixMs(),
    };
  }
}
