/**
 * Shares the event loop between connections: one that has used up its work units for a turn goes on in a later turn,
 * after the others.
 *
 * @module
 */

/** Longest time that interrupted connections work in one turn, all together; then sockets and timers are served. */
const SLICE_MS = 2;

/** What goes on in a later turn. */
export interface Interrupted {
  /** Goes on, until it is interrupted again. */
  readOn(): void;
}

/** The interrupted connections of a process. */
export class TurnScheduler {
  readonly #waiting: Interrupted[] = [];
  #scheduled = false;

  /** `now`: monotonic, ms. */
  constructor(readonly now: () => number) {}

  /** `connection` goes on in a later turn of the event loop; first come, first served. */
  defer(connection: Interrupted): void {
    this.#waiting.push(connection);
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
      this.#waiting.shift()!.readOn();
      if (this.now() > untilMs) break;
    }
    if (this.#waiting.length > 0) this.#schedule();
  }
}
