/**
 * Time as an argument: what measures or stamps takes a {@linkcode Clock}, so that tests choose the time.
 *
 * @module
 */

/** A wall clock and a monotonic one. */
export interface Clock {
  /** Unix time in milliseconds; goes back when the clock is set back. */
  unixMs(): number;
  /** Milliseconds since an arbitrary moment; never goes back. For durations. */
  monotonicMs(): number;
}

/** The clocks of this machine. */
export const systemClock: Clock = {
  unixMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
