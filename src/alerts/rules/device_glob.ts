/**
 * Patterns of device ids, in which `*` stands for any text.
 *
 * @module
 */

/** Matches ids in time that grows with their length, whatever the pattern: it never goes back. */
export class DeviceGlob {
  readonly #first: string;
  readonly #between: readonly string[];
  /** Undefined: the pattern has no `*`. */
  readonly #last: string | undefined;

  /** `pattern`: for example `greenhouse-*` or `*-outdoor`. */
  constructor(pattern: string) {
    const [first = "", ...others] = pattern.split("*");
    this.#first = first;
    this.#last = others.pop();
    this.#between = others.filter((part) => part !== "");
  }

  /** Whether the pattern covers the id. */
  matches(deviceId: string): boolean {
    const last = this.#last;
    if (last === undefined) return deviceId === this.#first;
    if (!deviceId.startsWith(this.#first)) return false;
    let at = this.#first.length;
    for (const part of this.#between) {
      const found = deviceId.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return deviceId.length - at >= last.length && deviceId.endsWith(last);
  }
}
