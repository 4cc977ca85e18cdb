/**
 * Shares the event loop between connections: one that has used up its work units for a turn goes on in a later turn,
 * after the others.
 *
 * @module
 */

/** Longest time that interrupted connections work in one turn, all together; then sockets and timers are served. */
const SLICE_MS = 2;

/** The interrupted connections of a process. */
export class TurnScheduler {
  readonly #waiting: (() => void)[] = [];
  #scheduled = false;

  /** `now`: monotonic, ms. */
  constructor(readonly now: () => number) {}

  /** Calls `resume` in a later turn of the event loop; first come, first served. */
  defer(resume: () => void): void {
    this.#waiting.push(resume);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#scheduled = false;
    const untilMs = this.now() + SLICE_MS;
    // Each once: one that is interrupted again waits for its next turn.
    for (let left = this.#waiting.length; left > 0; left--) {
      this.#waiting.shift()!();
      if (this.now() > untilMs) break;
    }
    if (this.#waiting.length > 0) this.#schedule();
  }
}
