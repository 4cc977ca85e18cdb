/**
 * CBOR → samples. A reader of our own, for the reasons of `message_pack.ts`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8949
 * @module
 */
import { type ByteReader, notThisFormat } from "./byte_reader.ts";
import { MAX_DEPTH, MAX_ITEMS, nested, type Sample, TOO_LONG } from "./sample.ts";

const UNSIGNED = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4, MAP = 5, TAG = 6;

/** Additional information: the argument follows in 1 byte, and up to 8; there is none, and a break ends the item. */
const ONE_BYTE = 24, EIGHT_BYTES = 27, INDEFINITE = 31;

const FALSE = 20, TRUE = 21, SIMPLE = 24, HALF = 25, DOUBLE = 27;

/** The break that ends items of indefinite length. */
const BREAK = 0xff;

/** Containers and tags in each other that are skipped; what is nested deeper is not read at all. */
const MAX_SKIPPED_DEPTH = 64;

/** Adds the map or array that begins at the reader's place; throws {@linkcode notThisFormat}. */
export function addCbor(sample: Sample, reader: ByteReader): void {
  const head = readHead(reader);
  if (head.major !== MAP && head.major !== ARRAY) throw notThisFormat;
  addItems(sample, reader, head, "", 1);
}

/** The first byte of an item. */
interface Head {
  readonly major: number;
  readonly info: number;
}

function readHead(reader: ByteReader): Head {
  const byte = reader.byte();
  return { major: byte >> 5, info: byte & 31 };
}

/** The argument of a head: a length, a tag or an integer, and `plus`; undefined: the length is indefinite. */
function readArgument(reader: ByteReader, { info }: Head, plus = 0): number | undefined {
  if (info < ONE_BYTE) return info + plus;
  if (info <= EIGHT_BYTES) return reader.unsigned(1 << info - ONE_BYTE, plus);
  if (info === INDEFINITE) return undefined;
  throw notThisFormat;
}

function readInteger(reader: ByteReader, head: Head): number {
  // -1 - argument, rounded once.
  const value = readArgument(reader, head, head.major === NEGATIVE ? 1 : 0);
  if (value === undefined) throw notThisFormat;
  return head.major === NEGATIVE ? -value : value;
}

/** Adds the items of an array, or the entries of a map; without a sample they are skipped. */
function addItems(
  sample: Sample | undefined,
  reader: ByteReader,
  head: Head,
  prefix: string,
  depth: number,
): void {
  const count = readArgument(reader, head), isMap = head.major === MAP;
  if ((count ?? 0) * (isMap ? 2 : 1) > reader.left) throw notThisFormat;
  for (let i = 0; count === undefined || i < count; i++) {
    const item = readHead(reader);
    if (count === undefined && item.major === 7 && item.info === INDEFINITE) return;
    if (isMap) {
      const key = readKey(reader, item);
      add(sample, reader, readHead(reader), nested(prefix, key ?? TOO_LONG), depth);
    } else {
      add(i < MAX_ITEMS ? sample : undefined, reader, item, nested(prefix, String(i)), depth);
    }
  }
}

/** Undefined: it is longer than a name may be. */
function readKey(reader: ByteReader, head: Head): string | undefined {
  const { major } = head;
  if (major !== TEXT && major !== UNSIGNED && major !== NEGATIVE) {
    throw notThisFormat;
  }
  if (major !== TEXT) return String(readInteger(reader, head));
  const bytes = readArgument(reader, head);
  if (bytes === undefined) throw notThisFormat;
  return reader.text(bytes);
}

/** Adds the item whose head was read; without a sample it is skipped. */
function add(sample: Sample | undefined, reader: ByteReader, head: Head, name: string, depth: number): void {
  switch (head.major) {
    case UNSIGNED:
    case NEGATIVE: {
      const value = readInteger(reader, head);
      return sample?.number(name, value);
    }
    case BYTES:
    case TEXT:
      return addText(sample, reader, head, name);
    case ARRAY:
    case MAP:
      if (depth > MAX_SKIPPED_DEPTH) throw notThisFormat;
      return addItems(depth < MAX_DEPTH ? sample : undefined, reader, head, name, depth + 1);
    case TAG:
      // What it means does not matter here: the time of tag 1 is a number as any other.
      if (depth > MAX_SKIPPED_DEPTH) throw notThisFormat;
      if (readArgument(reader, head) === undefined) throw notThisFormat;
      return addTagged(sample, reader, name, depth);
    default:
      return addSimple(sample, reader, head, name);
  }
}

/** What a tag is of: as deep as the tag, while tags of tags end. */
function addTagged(sample: Sample | undefined, reader: ByteReader, name: string, depth: number): void {
  let head = readHead(reader);
  for (let tags = 1; head.major === TAG; tags++) {
    if (tags > MAX_SKIPPED_DEPTH) throw notThisFormat;
    if (readArgument(reader, head) === undefined) throw notThisFormat;
    head = readHead(reader);
  }
  add(sample, reader, head, name, depth);
}

/** A text, or bytes, which are skipped; as is a text of indefinite length. */
function addText(sample: Sample | undefined, reader: ByteReader, head: Head, name: string): void {
  const length = readArgument(reader, head);
  if (length === undefined) return skipChunks(reader, head.major);
  if (head.major === BYTES) return void reader.skip(length);
  const text = reader.text(length);
  if (text !== undefined) sample?.text(name, text);
}

function skipChunks(reader: ByteReader, major: number): void {
  for (let byte; (byte = reader.byte()) !== BREAK;) {
    const length = readArgument(reader, { major: byte >> 5, info: byte & 31 });
    if (byte >> 5 !== major || length === undefined) throw notThisFormat;
    reader.skip(length);
  }
}

/** Booleans and floats; null and other simple values are skipped. */
function addSimple(sample: Sample | undefined, reader: ByteReader, { info }: Head, name: string): void {
  if (info === FALSE || info === TRUE) return sample?.number(name, info - FALSE);
  if (info >= HALF && info <= DOUBLE) {
    const value = reader.float(1 << info - ONE_BYTE);
    return sample?.number(name, value);
  }
  if (info === SIMPLE) return void reader.byte();
  if (info > DOUBLE) throw notThisFormat;
}
