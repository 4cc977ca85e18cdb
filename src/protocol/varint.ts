/**
 * Protobuf's variable-length integers: 7 bits a byte, the lowest first, the high bit set in all but the last.
 *
 * `src/protocol/packet.ts` has a reader of its own: it reads each field of each packet, keeps its position
 * in a variable of its module, and refuses what protobuf refuses. An offset and a value returned from here would
 * be two calls or an object for each field.
 *
 * @module
 */

/** Longest encoding of a whole number from 0 to 2^53 - 1, in bytes. */
export const MAX_VARINT_BYTES = 8;

/** Bytes that {@linkcode writeVarint} writes for `value`. */
export function varintSize(value: number): number {
  if (value < 0) return 10;
  let size = 1;
  for (; value >= 0x80; value = Math.floor(value / 0x80)) size++;
  return size;
}

/**
 * Writes a whole number of at most 2^53 - 1 in magnitude from `at` on; returns the end offset. A negative number
 * is written as the 64 bits of its two's complement, as protobuf's `int64` is.
 */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0) {
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 0x80n; rest >>= 7n) bytes[at++] = Number(rest & 0x7fn) | 0x80;
    bytes[at++] = Number(rest);
    return at;
  }
  // Shifting has 32 bits only.
  for (; value >= 2 ** 31; value = Math.floor(value / 0x80)) bytes[at++] = value % 0x80 | 0x80;
  for (; value >= 0x80; value >>>= 7) bytes[at++] = value & 0x7f | 0x80;
  bytes[at++] = value;
  return at;
}

/** The end offset of the varint at `at`; undefined if the bytes end before it does. */
export function varintEnd(bytes: Uint8Array, at: number): number | undefined {
  while (at < bytes.length) if (bytes[at++]! < 0x80) return at;
  return undefined;
}

/** The number in `bytes[start, end)`, of which `end` is the {@linkcode varintEnd}; inexact from 2^53 on. */
export function readVarint(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = value * 0x80 + (bytes[at]! & 0x7f);
  return value;
}
