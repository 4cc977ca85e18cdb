/**
 * The clock by which rows of a SQLite file expire. It follows the time that callers give, but in small steps only:
 * a clock that was set wrong for a moment must not end every session.
 *
 * @module
 */

/** Greatest step, whether the clock jumped or there was no call for so long. */
export const MAX_STEP_MS = 3_600_000;

/** A time may be so much before the latest, of batches that waited. A greater difference: the clock was set back. */
const MAX_LATE_MS = 24 * 3_600_000;

/** Never goes back. Rows that were used with this clock live at least as long as they should. */
export class ExpiryClock {
  readonly #newestUseMs: () => number | undefined;
  #last: { readonly givenMs: number; readonly ms: number } | undefined;

  /** `newestUseMs`: when the newest row was used, by this clock in an earlier run; undefined: there is none. */
  constructor(newestUseMs: () => number | undefined) {
    this.#newestUseMs = newestUseMs;
  }

  /** The time to use at `givenMs`, Unix milliseconds. */
  at(givenMs: number): number {
    const last = this.#last ?? this.#first(givenMs);
    const stepMs = Math.min(Math.max(givenMs - last.givenMs, 0), MAX_STEP_MS);
    const isSetBack = givenMs < last.givenMs - MAX_LATE_MS;
    this.#last = { givenMs: isSetBack ? givenMs : Math.max(givenMs, last.givenMs), ms: last.ms + stepMs };
    return this.#last.ms;
  }

  #first(givenMs: number) {
    const usedMs = this.#newestUseMs() ?? givenMs;
    return { givenMs, ms: Math.min(Math.max(givenMs, usedMs), usedMs + MAX_STEP_MS) };
  }
}
