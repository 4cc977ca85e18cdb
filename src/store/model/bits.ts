/**
 * Whole numbers in few bits each, by Rice's code: `k` low bits as they are, the rest in unary.
 *
 * @module
 */

/** Greatest `k`. */
export const MAX_RICE_BITS = 15;

/** The `k` with which these whole numbers from 0 up take the fewest bits, or nearly. */
export function riceBits(values: readonly number[]): number {
  let sum = 0;
  for (const value of values) sum += value;
  // Of numbers that are distributed as the code supposes, half of the mean is near the best.
  const guess = Math.max(0, Math.floor(Math.log2(sum / values.length + 1e-9)));
  let best = 0, bestBits = Infinity;
  for (let k = Math.max(0, guess - 1); k <= Math.min(MAX_RICE_BITS, guess + 1); k++) {
    let bits = 0;
    for (const value of values) bits += (value >>> k) + 1 + k;
    if (bits >= bestBits) continue;
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
    let ones = value >>> k;
    for (; ones > 8; ones -= 8) this.#write(0xff, 8);
    // The ones, and a zero.
    this.#write((1 << ones + 1) - 2, ones + 1);
    this.#write(value & (1 << k) - 1, k);
  }

  /** The `count` low bits of `value`. */
  #write(value: number, count: number): void {
    while (count > 0) {
      const taken = Math.min(8 - this.#bit, count);
      count -= taken;
      this.bytes[this.#at]! |= (value >>> count & (1 << taken) - 1) << 8 - this.#bit - taken;
      this.#bit += taken;
      if (this.#bit < 8) return;
      this.#bit = 0;
      this.#at++;
    }
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
    let ones = 0;
    for (;;) {
      // Beyond the end, where damaged bytes lead, there are zeros.
      const rest = (this.bytes[this.#at] ?? 0) << this.#bit & 0xff, left = 8 - this.#bit;
      const leading = Math.min(left, Math.clz32(~rest & 0xff) - 24);
      ones += leading;
      if (leading < left) {
        this.#skip(leading + 1);
        break;
      }
      this.#skip(left);
    }
    return ones << k | this.#read(k);
  }

  #read(count: number): number {
    let value = 0;
    while (count > 0) {
      const left = 8 - this.#bit, taken = Math.min(left, count);
      const bits = (this.bytes[this.#at] ?? 0) >> left - taken & (1 << taken) - 1;
      value = value << taken | bits;
      count -= taken;
      this.#skip(taken);
    }
    return value;
  }

  #skip(bits: number): void {
    this.#bit += bits;
    if (this.#bit < 8) return;
    this.#bit -= 8;
    this.#at++;
  }
}
