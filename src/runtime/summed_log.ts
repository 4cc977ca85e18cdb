/**
 * Few lines of a log for what may happen often: one at once, and sums of what follows.
 *
 * @module
 */

/** What follows a line is summed up for so long. */
const SUM_UP_MS = 10_000;

/** Lines about one kind of event. */
export class SummedLog<Sums> {
  readonly #none: () => Sums;
  readonly #logSums: (sums: Sums) => void;
  /** Not logged yet; undefined while a line may be written at once. */
  #sums: Sums | undefined;
  #isAny = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `none`: sums of nothing; `logSums`: writes the line of sums. */
  constructor(none: () => Sums, logSums: (sums: Sums) => void) {
    this.#none = none;
    this.#logSums = logSums;
  }

  /** An event: calls `logOne` if it may have a line of its own, or else `add`, which adds it to the sums. */
  occurred(logOne: () => void, add: (sums: Sums) => void): void {
    if (this.#closed) return;
    if (this.#sums !== undefined) {
      this.#isAny = true;
      return add(this.#sums);
    }
    logOne();
    this.#sumUp();
  }

  /** Logs the sums; what occurs later is not logged. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#logPending();
  }

  #sumUp(): void {
    this.#sums = this.#none();
    this.#timer = setTimeout(() => {
      if (this.#logPending()) this.#sumUp();
    }, SUM_UP_MS);
  }

  #logPending(): boolean {
    const sums = this.#sums, isAny = this.#isAny;
    this.#sums = undefined;
    this.#isAny = false;
    if (sums !== undefined && isAny) this.#logSums(sums);
    return isAny;
  }
}
