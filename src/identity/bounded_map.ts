/**
 * A cache that drops what was used least recently.
 *
 * @module
 */

/** Up to `capacity` entries. */
export class BoundedMap<Value> {
  /** From the one used least recently on. */
  readonly #entries = new Map<string, Value>();

  /** An empty cache. */
  constructor(readonly capacity: number) {}

  /** Entries held now. */
  get size(): number {
    return this.#entries.size;
  }

  /** The value of the key, which is used with this. */
  get(key: string): Value | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** Sets it; drops another one if there are too many. */
  set(key: string, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.capacity) return;
    const [oldest] = this.#entries.keys();
    this.#entries.delete(oldest!);
  }

  /** Removes it. */
  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** Removes all. */
  clear(): void {
    this.#entries.clear();
  }
}
