/**
 * HPACK's Huffman code (section 5.2, appendix B).
 *
 * @module
 */
import { cachedText } from "./string_cache.ts";
import { HeaderBlockError } from "./tables.ts";

/**
 * Lengths in bits of the Huffman codes of the bytes 0 to 255 and of EOS, each as a digit in base 36. The codes follow
 * from their lengths: appendix B assigns them in the order of their length and, within a length, of their symbol.
 */
const huffmanLengths = Array.from(
  "dnsssssssoussussssssssusssssssss" + "6aacd68baa8b8666555666666678f6ca" +
    "d67777777777777777777777878djde6" + "f56565666577666567655677777fbeds" +
    "kmkkmmmnmnnnnnonoomnonnnnlmnmnno" + "mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
    "qqkjmnmpqqqrrqopjlqrrqrollqqsrrr" + "koklmllnmmppooqnqrqqrrrrrsrrrrrq" + "u",
  (digit) => parseInt(digit, 36),
);

const EOS = 256, MIN_CODE_BITS = 5, MAX_CODE_BITS = 30;

/** Longer padding is an error, as is EOS itself (section 5.2). */
const MAX_PADDING_BITS = 7;

/** Symbols in the order of their codes. */
const huffmanSymbols = [...huffmanLengths.keys()].sort((a, b) =>
  huffmanLengths[a]! - huffmanLengths[b]! || a - b
);

/**
 * For each length in bits: the end (exclusive) of its codes, left-aligned in 32 bits; and the index in
 * {@linkcode huffmanSymbols} of its first code, less that code.
 */
const huffmanEnds: number[] = [], huffmanOffsets: number[] = [];
for (let bits = 0, code = 0, place = 0; bits <= MAX_CODE_BITS; bits++, code <<= 1) {
  huffmanOffsets.push(place - code);
  const count = huffmanLengths.filter((length) => length === bits).length;
  code += count;
  place += count;
  huffmanEnds.push(code * 2 ** (32 - bits));
}

/** Buffer that strings are decoded into; longer ones get a buffer of their own. */
const decoded = new Uint8Array(1024);

/** Decodes the Huffman-coded string `bytes[start, end)`; its padding is at most seven bits of EOS (section 5.2). */
export function huffmanText(bytes: Uint8Array, start: number, end: number): string {
  const maxLength = Math.floor((end - start) * 8 / MIN_CODE_BITS);
  const chars = maxLength <= decoded.length ? decoded : new Uint8Array(maxLength);
  const endBit = (end - start) * 8;
  let length = 0, bit = 0;
  while (bit < endBit) {
    const next = bitsAt(bytes, start, end, bit);
    let bits = MIN_CODE_BITS;
    while (next >= huffmanEnds[bits]!) bits++;
    const symbol = huffmanSymbols[(next >>> 32 - bits) + huffmanOffsets[bits]!]!;
    if (symbol === EOS && endBit - bit <= MAX_PADDING_BITS) break;
    bit += bits;
    if (symbol === EOS || bit > endBit) {
      throw new HeaderBlockError("a Huffman-coded string with EOS or with wrong padding");
    }
    chars[length++] = symbol;
  }
  return cachedText(chars, 0, length);
}

/** 32 bits from `bit` of `bytes[start, end)`, with ones after the end, so that padding reads as a complete EOS. */
function bitsAt(bytes: Uint8Array, start: number, end: number, bit: number): number {
  const at = start + (bit >>> 3), shift = bit & 7;
  let bits = 0;
  for (let i = at; i < at + 4; i++) bits = bits << 8 | (i < end ? bytes[i]! : 255);
  return (bits << shift | (at + 4 < end ? bytes[at + 4]! : 255) >> 8 - shift) >>> 0;
}
