/**
 * Which devices are to be looked at again, and when: a wheel of seconds, so that adding and taking cost the same
 * however many there are.
 *
 * @module
 */

/** Seconds of one turn; what is due later goes round. */
const TURN = 512;

const SECOND_MS = 1_000;

/** Slots of devices, each with one second at most at which it is due. */
export class DueTimes {
  readonly #wheel: (number[] | undefined)[] = Array.from({ length: TURN }, () => undefined);
  /** By slot; 0: it has none. */
  #dueSeconds = new Uint32Array(1_024);
  /** Up to which all were taken. */
  #second: number;

  /** `nowMs`: of a clock that does not go back. */
  constructor(nowMs: number) {
    this.#second = secondOf(nowMs);
  }

  /** The slot is due at `dueMs`, and up to a second later; an earlier time that it has already is kept. */
  add(slot: number, dueMs: number): void {
    if (slot >= this.#dueSeconds.length) this.#grow(slot);
    if (this.#dueSeconds[slot] !== 0) return;
    const second = Math.max(this.#second + 1, secondOf(dueMs + SECOND_MS - 1));
    this.#dueSeconds[slot] = second;
    this.#push(slot, second);
  }

  /** The slots that have become due; they have no due time any more. */
  take(nowMs: number): readonly number[] {
    const until = secondOf(nowMs), due: number[] = [];
    // After a long pause each place of the wheel is looked at once.
    for (let second = Math.max(this.#second + 1, until - TURN + 1); second <= until; second++) {
      const slots = this.#wheel[second % TURN];
      if (slots === undefined) continue;
      this.#wheel[second % TURN] = undefined;
      for (const slot of slots) {
        const dueSecond = this.#dueSeconds[slot]!;
        if (dueSecond > until) this.#push(slot, dueSecond);
        else {
          this.#dueSeconds[slot] = 0;
          due.push(slot);
        }
      }
    }
    this.#second = Math.max(this.#second, until);
    return due;
  }

  #push(slot: number, second: number): void {
    (this.#wheel[second % TURN] ??= []).push(slot);
  }

  #grow(slot: number): void {
    const larger = new Uint32Array(Math.max(slot + 1, 2 * this.#dueSeconds.length));
    larger.set(this.#dueSeconds);
    this.#dueSeconds = larger;
  }
}

/** From 1 on. */
function secondOf(ms: number): number {
  return 1 + Math.floor(ms / SECOND_MS);
}
