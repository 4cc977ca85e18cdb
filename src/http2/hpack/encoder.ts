/**
 * Fields → HPACK header blocks, without the dynamic table and Huffman codes: a block depends on nothing
 * that was sent before.
 *
 * @module
 */
import { type HeaderField, staticTable } from "./tables.ts";

/**
 * The header block of `fields`: static-table names and fields, and literals without indexing otherwise.
 * `announceEmptyTable`: begins with a dynamic table of no bytes, for a peer that allows less than the default (4.2).
 */
export function encodeHeaders(fields: Iterable<HeaderField>, announceEmptyTable = false): Uint8Array {
  const block: number[] = announceEmptyTable ? [0b0010_0000] : [];
  for (const [name, value] of fields) {
    const fieldIndex = staticFields.get(`${name}\0${value}`);
    if (fieldIndex !== undefined) {
      writeInteger(block, 0b1000_0000, 7, fieldIndex);
      continue;
    }
    const nameIndex = staticNames.get(name) ?? 0;
    writeInteger(block, 0, 4, nameIndex);
    if (nameIndex === 0) writeString(block, name);
    writeString(block, value);
  }
  return Uint8Array.from(block);
}

/** Index of a field, by name, NUL and value. */
const staticFields = new Map(staticTable.map(([name, value], i) => [`${name}\0${value}`, i + 1]));

/** Index of a field with the name. */
const staticNames = new Map(staticTable.map(([name], i) => [name, i + 1]));

/** Section 5.1: `value` in the low `prefixBits` of the first byte, whose other bits are `flags`, or behind. */
function writeInteger(block: number[], flags: number, prefixBits: number, value: number): void {
  const prefixMax = (1 << prefixBits) - 1;
  if (value < prefixMax) {
    block.push(flags | value);
    return;
  }
  block.push(flags | prefixMax);
  let rest = value - prefixMax;
  for (; rest >= 128; rest >>>= 7) block.push(rest & 127 | 128);
  block.push(rest);
}

/** Section 5.2, without Huffman codes. */
function writeString(block: number[], text: string): void {
  writeInteger(block, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) block.push(text.charCodeAt(i));
}
