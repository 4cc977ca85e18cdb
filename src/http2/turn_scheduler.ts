/**
 * Shares the event loop between connections: one that has used up its work units for a turn continues in a later turn,
 * after other connections and sockets were served.
 *
 * @module
 */

/** Longest time that the interrupted connections together work in one turn, before sockets and timers are served. */
const SLICE_MS = 2;

/** A connection that has received more than it read in its turn. */
export interface InterruptedReader {
  /** Reads until all is read or the turn is used up again. */
  continueReading(): void;
}

/** Queue of the interrupted connections of a process. */
export class TurnScheduler {
  readonly #waiting: InterruptedReader[] = [];
  #scheduled = false;

  /** `now`: monotonic clock, ms. */
  constructor(readonly now: () => number) {}

  /** Calls {@linkcode InterruptedReader.continueReading} of `connection` in a later turn of the event loop; FIFO. */
  defer(connection: InterruptedReader): void {
    this.#waiting.push(connection);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not setImmediate, see `runtime/next_turn.ts`: with 2 ms of work in each turn, an echo took at most 29 ms with timers,
    // 328 ms with immediates (measured with Deno 2.9.6).
    setTimeout(() => this.#run(), 0);
  }

  #run(): void {
    this.#scheduled = false;
    const untilMs = this.now() + SLICE_MS;
    // Each at most once: one that is interrupted again waits for its next turn.
    for (let left = this.#waiting.length; left > 0; left--) {
      this.#waiting.shift()!.continueReading();
      if (this.now() > untilMs) break;
    }
    if (this.#waiting.length > 0) this.#schedule();
  }
}
