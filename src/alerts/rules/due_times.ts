/**
 * What is to be looked at again, and when: a wheel of seconds, so that adding and taking cost the same however much
 * there is.
 *
 * @module
 */

/** Seconds of one turn; what is due later goes round. */
const SLOTS = 4_096;

const SECOND_MS = 1_000;

/** Whole numbers, each with a second at which it is due. */
export class DueTimes {
  /** Pairs: the number, and the second. */
  readonly #wheel: number[][] = Array.from({ length: SLOTS }, () => []);
  #second: number;

  /** `nowMs`: of a clock that does not go back. */
  constructor(nowMs: number) {
    this.#second = Math.floor(nowMs / SECOND_MS);
  }

  /** `entry` is due at `dueMs`, and up to a second later. */
  add(entry: number, dueMs: number): void {
    const second = Math.max(this.#second + 1, Math.ceil(dueMs / SECOND_MS));
    this.#wheel[second % SLOTS]!.push(entry, second);
  }

  /** Calls `look` with what has become due. */
  take(nowMs: number, look: (entry: number) => void): void {
    const until = Math.floor(nowMs / SECOND_MS);
    // After a long pause each place of the wheel is looked at once.
    for (let second = Math.max(this.#second + 1, until - SLOTS + 1); second <= until; second++) {
      this.#second = second;
      const entries = this.#wheel[second % SLOTS]!;
      if (entries.length === 0) continue;
      this.#wheel[second % SLOTS] = [];
      for (let i = 0; i < entries.length; i += 2) {
        if (entries[i + 1]! <= until) look(entries[i]!);
        else this.#wheel[second % SLOTS]!.push(entries[i]!, entries[i + 1]!);
      }
    }
  }
}
