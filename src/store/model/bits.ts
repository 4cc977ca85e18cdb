/**
 * Whole numbers in few bits each, by Rice's code: `k` low bits as they are, the rest in unary.
 *
 * @module
 */

/** Greatest `k`. */
export const MAX_RICE_BITS = 15;

/** The `k` with which these whole numbers from 0 up take the fewest bits. */
export function riceBits(values: readonly number[]): number {
  let best = 0, bestBits = Infinity;
  for (let k = 0; k <= MAX_RICE_BITS; k++) {
    let bits = 0;
    for (const value of values) bits += (value >>> k) + 1 + k;
    if (bits >= bestBits) break;
    best = k;
    bestBits = bits;
  }
  return best;
}

/** Writes bits into bytes that are 0, from a byte on. */
export class BitWriter {
  #at: number;
  #bit = 0;

  /** Begins at byte `at`. */
  constructor(readonly bytes: Uint8Array, at: number) {
    this.#at = at;
  }

  /** Where the next byte begins. */
  get end(): number {
    return this.#bit === 0 ? this.#at : this.#at + 1;
  }

  /** A whole number from 0 up, with {@linkcode riceBits}. */
  rice(value: number, k: number): void {
    for (let ones = value >>> k; ones > 0; ones--) this.#write(1);
    this.#write(0);
    for (let bit = k - 1; bit >= 0; bit--) this.#write(value >>> bit & 1);
  }

  #write(bit: number): void {
    if (bit === 1) this.bytes[this.#at]! |= 0x80 >> this.#bit;
    if (++this.#bit < 8) return;
    this.#bit = 0;
    this.#at++;
  }
}

/** Reads what a {@linkcode BitWriter} wrote. */
export class BitReader {
  #at: number;
  #bit = 0;

  /** Begins at byte `at`. */
  constructor(readonly bytes: Uint8Array, at: number) {
    this.#at = at;
  }

  /** The next number. */
  rice(k: number): number {
    let value = 0;
    // Beyond the end, where damaged bytes lead, there are zeros.
    while (this.#read() === 1) value++;
    for (let bit = 0; bit < k; bit++) value = value << 1 | this.#read();
    return value;
  }

  #read(): number {
    const bit = (this.bytes[this.#at] ?? 0) >> 7 - this.#bit & 1;
    if (++this.#bit === 8) {
      this.#bit = 0;
      this.#at++;
    }
    return bit;
  }
}
