/**
 * MessagePack → samples. A reader of our own, of maps, arrays, numbers and texts: a library would build all of what a
 * stranger sends, under keys that he chose, before a number could be taken out of it; here what is too deep, too long or
 * of another type is skipped, in one pass, with memory for the names that are kept only.
 *
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 * @module
 */
import { type ByteReader, notThisFormat } from "./byte_reader.ts";
import { MAX_DEPTH, MAX_ITEMS, nested, type Sample, TOO_LONG } from "./sample.ts";

/** Containers in each other that are skipped; what is nested deeper is not read at all. */
const MAX_SKIPPED_DEPTH = 64;

/** Adds the map or array that begins at the reader's place; throws {@linkcode notThisFormat}. */
export function addMessagePack(sample: Sample, reader: ByteReader): void {
  const type = reader.byte();
  const entries = mapEntries(type, reader), items = arrayItems(type, reader);
  if (entries !== undefined) addMap(sample, reader, entries, "", 1);
  else if (items !== undefined) addArray(sample, reader, items, "", 1);
  else throw notThisFormat;
}

function addMap(
  sample: Sample | undefined,
  reader: ByteReader,
  entries: number,
  prefix: string,
  depth: number,
): void {
  // Each takes two bytes at least.
  if (entries * 2 > reader.left) throw notThisFormat;
  for (let i = 0; i < entries; i++) {
    const key = readKey(reader);
    add(sample, reader, nested(prefix, key ?? TOO_LONG), depth);
  }
}

function addArray(
  sample: Sample | undefined,
  reader: ByteReader,
  items: number,
  prefix: string,
  depth: number,
): void {
  if (items > reader.left) throw notThisFormat;
  for (let i = 0; i < items; i++) {
    add(i < MAX_ITEMS ? sample : undefined, reader, nested(prefix, String(i)), depth);
  }
}

/** Adds the next object; without a sample it is skipped. */
function add(sample: Sample | undefined, reader: ByteReader, name: string, depth: number): void {
  const type = reader.byte();
  const number = readNumber(type, reader);
  if (number !== undefined) return sample?.number(name, number);
  const bytes = textBytes(type, reader);
  if (bytes !== undefined) {
    const text = reader.text(bytes);
    return text === undefined ? undefined : sample?.text(name, text);
  }
  const entries = mapEntries(type, reader), items = arrayItems(type, reader);
  if (entries === undefined && items === undefined) return skipOther(type, reader);
  if (depth > MAX_SKIPPED_DEPTH) throw notThisFormat;
  const inner = depth < MAX_DEPTH ? sample : undefined;
  if (entries !== undefined) addMap(inner, reader, entries, name, depth + 1);
  else addArray(inner, reader, items!, name, depth + 1);
}

/**
 * Undefined: it is longer than a name may be. A key that is no text is refused: an array of CBOR begins as a small map
 * does, and would be one whose keys are its first items.
 */
function readKey(reader: ByteReader): string | undefined {
  const bytes = textBytes(reader.byte(), reader);
  if (bytes === undefined) throw notThisFormat;
  return reader.text(bytes);
}

/** Of a map; undefined: it is none. */
function mapEntries(type: number, reader: ByteReader): number | undefined {
  if (type >= 0x80 && type <= 0x8f) return type & 15;
  return type === 0xde ? reader.unsigned(2) : type === 0xdf ? reader.unsigned(4) : undefined;
}

/** Of an array; undefined: it is none. */
function arrayItems(type: number, reader: ByteReader): number | undefined {
  if (type >= 0x90 && type <= 0x9f) return type & 15;
  return type === 0xdc ? reader.unsigned(2) : type === 0xdd ? reader.unsigned(4) : undefined;
}

/** Of a text; undefined: it is none. */
function textBytes(type: number, reader: ByteReader): number | undefined {
  if (type >= 0xa0 && type <= 0xbf) return type & 31;
  return type >= 0xd9 && type <= 0xdb ? reader.unsigned(1 << type - 0xd9) : undefined;
}

/** A number or a boolean; undefined: it is none. */
function readNumber(type: number, reader: ByteReader): number | undefined {
  if (type <= 0x7f) return type;
  if (type >= 0xe0) return type - 256;
  if (type === 0xc2 || type === 0xc3) return type - 0xc2;
  if (type === 0xca || type === 0xcb) return reader.float(type === 0xca ? 4 : 8);
  if (type >= 0xcc && type <= 0xcf) return reader.unsigned(1 << type - 0xcc);
  if (type >= 0xd0 && type <= 0xd3) return reader.signed(1 << type - 0xd0);
  return undefined;
}

/** Nil, bytes and extensions. */
function skipOther(type: number, reader: ByteReader): void {
  if (type === 0xc0) return;
  if (type >= 0xc4 && type <= 0xc6) reader.skip(reader.unsigned(1 << type - 0xc4));
  else if (type >= 0xc7 && type <= 0xc9) reader.skip(reader.unsigned(1 << type - 0xc7) + 1);
  else if (type >= 0xd4 && type <= 0xd8) reader.skip((1 << type - 0xd4) + 1);
  else throw notThisFormat;
}
