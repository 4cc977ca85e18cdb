/**
 * Which devices of the index changed since a reader looked last.
 *
 * @module
 */

/** Slots, each once, in the order in which they changed first. */
export class ChangedSlots {
  #isChanged = new Uint8Array(1_024);
  #slots: number[] = [];

  /** The device in `slot` was added, updated or removed. */
  add(slot: number): void {
    if (slot >= this.#isChanged.length) {
      const larger = new Uint8Array(Math.max(slot + 1, 2 * this.#isChanged.length));
      larger.set(this.#isChanged);
      this.#isChanged = larger;
    }
    if (this.#isChanged[slot] === 1) return;
    this.#isChanged[slot] = 1;
    this.#slots.push(slot);
  }

  /** Those that changed since the call before. */
  take(): readonly number[] {
    const slots = this.#slots;
    this.#slots = [];
    for (const slot of slots) this.#isChanged[slot] = 0;
    return slots;
  }
}
