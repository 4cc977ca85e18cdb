/**
 * Reads numbers and texts of binary payloads, in place. Every read is checked: past the end it throws.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/**
 * The bytes are not of the format that they were read as. One for all: to make an error with its stack takes longer than
 * to read a payload.
 */
export const notThisFormat: Error = new Error("the bytes are not of the format that they were read as");

/** Texts that are kept; a longer one is skipped. */
const MAX_TEXT_BYTES = 64;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** See the module. */
export class ByteReader {
  /** Offset of the next byte. */
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** At the first byte of `bytes`. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Bytes that are left. */
  get left(): number {
    return this.#bytes.length - this.at;
  }

  /** Moves on by `bytes` bytes; returns where they begin. */
  skip(bytes: number): number {
    if (bytes > this.left) throw notThisFormat;
    const start = this.at;
    this.at += bytes;
    return start;
  }

  /** The next byte. */
  byte(): number {
    return this.#bytes[this.skip(1)]!;
  }

  /** An unsigned integer of 1, 2, 4 or 8 bytes, and `plus`, which is 0 or 1; above 2^53 the nearest double. */
  unsigned(bytes: number, plus = 0): number {
    const view = this.#view, start = this.skip(bytes);
    if (bytes === 1) return view.getUint8(start) + plus;
    if (bytes === 2) return view.getUint16(start) + plus;
    if (bytes === 4) return view.getUint32(start) + plus;
    // Rounded once.
    return view.getUint32(start) * 2 ** 32 + (view.getUint32(start + 4) + plus);
  }

  /** A signed integer of 1, 2, 4 or 8 bytes, likewise. */
  signed(bytes: number): number {
    const view = this.#view, start = this.skip(bytes);
    if (bytes === 1) return view.getInt8(start);
    if (bytes === 2) return view.getInt16(start);
    if (bytes === 4) return view.getInt32(start);
    return view.getInt32(start) * 2 ** 32 + view.getUint32(start + 4);
  }

  /** A float of 2, 4 or 8 bytes. */
  float(bytes: number): number {
    const view = this.#view, start = this.skip(bytes);
    if (bytes === 2) return halfFloat(view.getUint16(start));
    return bytes === 4 ? view.getFloat32(start) : view.getFloat64(start);
  }

  /** A text of so many bytes; undefined: it is longer than is kept. */
  text(bytes: number): string | undefined {
    const start = this.skip(bytes);
    if (bytes > MAX_TEXT_BYTES) return undefined;
    const { buffer, byteOffset } = this.#bytes;
    for (let i = start; i < start + bytes; i++) if (this.#bytes[i]! > 127) return this.#utf8(start, bytes);
    return Buffer.from(buffer, byteOffset + start, bytes).toString("latin1");
  }

  #utf8(start: number, bytes: number): string {
    try {
      return utf8.decode(this.#bytes.subarray(start, start + bytes));
    } catch {
      throw notThisFormat;
    }
  }
}

function halfFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
