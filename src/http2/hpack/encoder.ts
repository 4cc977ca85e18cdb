/**
 * Encodes HPACK header blocks without the dynamic table and Huffman codes, so that a block does not depend on earlier
 * ones.
 *
 * @module
 */
import { type HeaderField, staticTable } from "./tables.ts";

/**
 * The header block of `fields`: indexed where the static table has the field or its name, else literals without indexing.
 * `announceEmptyTable`: begin with a dynamic table size update to 0, for a peer that allows less than the default
 * (section 4.2).
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

/** Static-table index of a field, by name, NUL and value. */
const staticFields = new Map(staticTable.map(([name, value], i) => [`${name}\0${value}`, i + 1]));

/** Static-table index of a field with this name. */
const staticNames = new Map(staticTable.map(([name], i) => [name, i + 1]));

/** Writes an integer (section 5.1) in the low `prefixBits` of a byte, whose other bits are `flags`, and bytes after it. */
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

/** Writes a string literal without Huffman codes (section 5.2). */
function writeString(block: number[], text: string): void {
  writeInteger(block, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) block.push(text.charCodeAt(i));
}
