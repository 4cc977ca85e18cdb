/**
 * The time in which packets could have been received and seen: no device is offline for being silent in any other.
 *
 * Left out is time in which no ingest process reported, as when it was paused, killed or cut off from the store;
 * in which this process did not run itself; and what a jump of the clock adds.
 *
 * @module
 */

/** Ingest processes report once a second; between two reports that are further apart none listened. */
const REPORT_GRACE_MS = 3_000;

/** After a time away, packets that wait in sockets are read, and devices connect again. */
const CATCH_UP_MS = 5_000;

/** This process was paused when nothing ran for so long; {@linkcode Listening.tick} is called far more often. */
const PAUSE_MS = 2_000;

/** The clock jumped when it and the monotonic one differ by more. */
const JUMP_MS = 1_000;

/** Kept at most; the oldest are forgotten first. */
const MAX_GAPS = 1_000;

/** How often {@linkcode Listening.tick} is to be called. */
export const TICK_INTERVAL_MS = 500;

/** What {@linkcode Listening} needs. */
export interface ListeningOptions {
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
  /** True: time counts only while an ingest reports. False: also before the first one was seen. */
  readonly ingestRequired: boolean;
}

/** A time in which nobody listened, Unix milliseconds. */
interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
}

/** See the module. */
export class Listening {
  readonly #options: ListeningOptions;
  /** Oldest first. */
  #gaps: Gap[] = [];
  /** Until when an ingest is known to have listened; undefined: that does not matter. */
  #reportedMs: number | undefined;
  #tick: { readonly realMs: number; readonly nowMs: number; readonly unixMs: number };

  /** Time before this counts as listened to. */
  constructor(options: ListeningOptions) {
    this.#options = options;
    this.#tick = this.#clocks();
    if (options.ingestRequired) this.#reportedMs = this.#tick.unixMs;
  }

  /** Notices pauses of this process and jumps of the clock. */
  tick(): void {
    const before = this.#tick, after = this.#tick = this.#clocks();
    const ranMs = after.realMs - before.realMs;
    const jumpMs = after.unixMs - before.unixMs - (after.nowMs - before.nowMs);
    if (jumpMs < -JUMP_MS) {
      // What is known lies in the future now.
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

  /** A device last seen before this has been silent for longer than `offlineAfterMs` of listening. */
  silentBeforeMs(nowMs: number): number {
    this.tick();
    let leftMs = this.#options.offlineAfterMs, atMs = nowMs;
    const reportedMs = this.#reportedMs;
    // Whether somebody listens since the newest report, only the next one shows.
    if (reportedMs !== undefined) atMs = Math.min(nowMs, reportedMs);
    for (let i = this.#gaps.length - 1; i >= 0; i--) {
      const { fromMs, toMs } = this.#gaps[i]!;
      const listenedMs = Math.max(0, atMs - toMs);
      if (listenedMs >= leftMs) {
        // Whatever is older has no bearing any more: this only ever moves on.
        this.#gaps.splice(0, i + 1);
        break;
      }
      leftMs -= listenedMs;
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
    return { realMs: performance.now(), nowMs: this.#options.now(), unixMs: this.#options.unixNow() };
  }
}
