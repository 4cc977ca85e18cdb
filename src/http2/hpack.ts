/**
 * HPACK, the header blocks of HTTP/2: bytes → fields and back (RFC 7541, which the sections named here are
 * of).
 *
 * What is received may use all of HPACK; what is sent does without the dynamic table and Huffman codes, so
 * it depends on nothing that was sent before.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/**
 * A header field. A character stands for a byte (Latin-1); the name is in lower case, unless the sender
 * broke RFC 9113, 8.2.1, which is not for HPACK to judge.
 */
export type HeaderField = readonly [name: string, value: string];

/** The block is not HPACK: the connection cannot go on (COMPRESSION_ERROR). */
export class HeaderBlockError extends Error {
  /** Tells it from other errors. */
  override readonly name = "HeaderBlockError";
}

/** The static table (appendix A), from index 1. */
const staticTable: readonly HeaderField[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  ...["200", "204", "206", "304", "400", "404", "500"].map((code): HeaderField => [":status", code]),
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...[
    ..."accept-language accept-ranges accept access-control-allow-origin age allow authorization".split(" "),
    ..."cache-control content-disposition content-encoding content-language content-length".split(" "),
    ..."content-location content-range content-type cookie date etag expect expires from host".split(" "),
    ..."if-match if-modified-since if-none-match if-range if-unmodified-since last-modified".split(" "),
    ..."link location max-forwards proxy-authenticate proxy-authorization range referer refresh".split(" "),
    ..."retry-after server set-cookie strict-transport-security transfer-encoding user-agent".split(" "),
    ..."vary via www-authenticate".split(" "),
  ].map((name): HeaderField => [name, ""]),
];

/** SETTINGS_HEADER_TABLE_SIZE where nothing else was said (RFC 9113, 6.5.2). */
const MAX_TABLE_BYTES = 4096;

/** What a field counts for beside its name and value (section 4.1; RFC 9113, 6.5.2 for a list). */
const FIELD_OVERHEAD_BYTES = 32;

/** Reads the header blocks of one connection: keeps what its sender has put into the dynamic table. */
export class HeaderDecoder {
  /** The dynamic table: names and values in turn, the oldest first; half the memory of an array per field. */
  #table: string[] | undefined;
  #tableBytes = 0;
  #maxTableBytes = MAX_TABLE_BYTES;

  /**
   * All fields in order, pseudo headers included. Undefined when they are larger in total (names, values and
   * 32 bytes each) than `maxListBytes`; what is over is not kept, but the table is as the sender believes it
   * to be. Throws {@linkcode HeaderBlockError}; later blocks of the connection have no meaning then.
   */
  decode(block: Uint8Array, maxListBytes: number): HeaderField[] | undefined {
    const reader = new BlockReader(block);
    while (block[reader.at]! >> 5 === 0b001) this.#resize(reader.integer(5));
    let fields: HeaderField[] | undefined = [], listBytes = 0;
    while (reader.at < block.length) {
      const field = this.#decodeField(reader, block[reader.at]!);
      listBytes += bytesOf(field[0], field[1]);
      if (listBytes > maxListBytes) fields = undefined;
      fields?.push(field);
    }
    return fields;
  }

  /** Section 6; `first` tells the representations apart. */
  #decodeField(reader: BlockReader, first: number): HeaderField {
    if (first >= 0b1000_0000) return this.#field(reader.integer(7));
    if (first >> 5 === 0b001) {
      throw new HeaderBlockError("a change of the dynamic table's size behind a field of the block");
    }
    const indexing = first >= 0b0100_0000;
    const nameIndex = reader.integer(indexing ? 6 : 4);
    const name = nameIndex === 0 ? reader.string() : this.#field(nameIndex)[0];
    const value = reader.string();
    if (indexing) this.#insert(name, value);
    return [name, value];
  }

  /** Both tables, the newest of the dynamic one first (section 2.3.3). */
  #field(index: number): HeaderField {
    const field = staticTable[index - 1];
    if (field !== undefined) return field;
    const at = (this.#table?.length ?? 0) - 2 * (index - staticTable.length);
    const name = this.#table?.[at], value = this.#table?.[at + 1];
    if (name === undefined || value === undefined) {
      throw new HeaderBlockError(`a reference to field ${index}, which is in neither table`);
    }
    return [name, value];
  }

  /** Section 4.4: a field larger than the table empties it, and is no error. */
  #insert(name: string, value: string): void {
    const bytes = bytesOf(name, value);
    this.#evict(this.#maxTableBytes - bytes);
    if (bytes > this.#maxTableBytes) return;
    (this.#table ??= []).push(name, value);
    this.#tableBytes += bytes;
  }

  /** Section 4.3. */
  #resize(bytes: number): void {
    if (bytes > MAX_TABLE_BYTES) {
      throw new HeaderBlockError(`a dynamic table of ${bytes} bytes, where ${MAX_TABLE_BYTES} are allowed`);
    }
    this.#maxTableBytes = bytes;
    this.#evict(bytes);
  }

  /** Lets the oldest fields go until the others have `maxBytes` at the most, or none is left. */
  #evict(maxBytes: number): void {
    const table = this.#table;
    while (table !== undefined && table.length > 0 && this.#tableBytes > maxBytes) {
      this.#tableBytes -= bytesOf(table.shift()!, table.shift()!);
    }
  }
}

/** The header block of `fields`: static-table names and fields, and literals without indexing otherwise. */
export function encodeHeaders(fields: Iterable<HeaderField>): Uint8Array {
  const block: number[] = [];
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

function bytesOf(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}

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

/** Reads the integers and strings of a block. */
class BlockReader {
  /** Where the next byte to read is. */
  at = 0;

  constructor(readonly block: Uint8Array) {}

  /**
   * Section 5.1. At most four bytes behind the prefix, 2^28: more than the length of any block and the number
   * of any field.
   */
  integer(prefixBits: number): number {
    const prefixMax = (1 << prefixBits) - 1;
    let value = this.#byte() & prefixMax;
    if (value < prefixMax) return value;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte();
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new HeaderBlockError("an integer of more than four bytes behind its prefix");
  }

  /** Section 5.2. */
  string(): string {
    const isHuffman = this.block[this.at]! >= 128;
    const length = this.integer(7);
    const start = this.at, end = start + length;
    if (end > this.block.length) {
      throw new HeaderBlockError(`a string of ${length} bytes, ${this.block.length - start} before the end`);
    }
    this.at = end;
    return isHuffman ? huffmanText(this.block, start, end) : text(this.block, start, end);
  }

  #byte(): number {
    if (this.at >= this.block.length) throw new HeaderBlockError("the block ends inside a field");
    return this.block[this.at++]!;
  }
}

/**
 * Bits of the Huffman codes of the bytes 0 to 255 and of EOS, each as a digit in base 36. They say it all:
 * appendix B numbers the codes in the order of their lengths and, of one length, of what they stand for.
 */
const huffmanLengths = Array.from(
  "dnsssssssoussussssssssusssssssss" + "6aacd68baa8b8666555666666678f6ca" +
    "d67777777777777777777777878djde6" + "f56565666577666567655677777fbeds" +
    "kmkkmmmnmnnnnnonoomnonnnnlmnmnno" + "mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
    "qqkjmnmpqqqrrqopjlqrrqrollqqsrrr" + "koklmllnmmppooqnqrqqrrrrrsrrrrrq" + "u",
  (digit) => parseInt(digit, 36),
);

const EOS = 256, MIN_CODE_BITS = 5, MAX_CODE_BITS = 30;

/** More is an error, as EOS itself is (section 5.2). */
const MAX_PADDING_BITS = 7;

/** What the codes stand for, in the codes' order. */
const huffmanSymbols = [...huffmanLengths.keys()].sort((a, b) =>
  huffmanLengths[a]! - huffmanLengths[b]! || a - b
);

/** For each length: behind its last code, as the beginning of 32 bits; and its first code's place less the code. */
const huffmanEnds: number[] = [], huffmanOffsets: number[] = [];
for (let bits = 0, code = 0, place = 0; bits <= MAX_CODE_BITS; bits++, code <<= 1) {
  huffmanOffsets.push(place - code);
  const count = huffmanLengths.filter((length) => length === bits).length;
  code += count;
  place += count;
  huffmanEnds.push(code * 2 ** (32 - bits));
}

/** What Huffman codes are decoded into; longer strings get room of their own. */
const decoded = new Uint8Array(1024);

/** Section 5.2: behind the last code there may be the beginning of EOS, at most seven bits of it. */
function huffmanText(bytes: Uint8Array, start: number, end: number): string {
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
      throw new HeaderBlockError("a Huffman-coded string that does not end as it should");
    }
    chars[length++] = symbol;
  }
  return text(chars, 0, length);
}

/** 32 bits from `bit` of `bytes[start, end)`, with ones behind the end: as if padding went on to a whole EOS. */
function bitsAt(bytes: Uint8Array, start: number, end: number, bit: number): number {
  const at = start + (bit >>> 3), shift = bit & 7;
  let bits = 0;
  for (let i = at; i < at + 4; i++) bits = bits << 8 | (i < end ? bytes[i]! : 255);
  return (bits << shift | (at + 4 < end ? bytes[at + 4]! : 255) >> 8 - shift) >>> 0;
}

/**
 * Short texts seen last, each where its hash says: fields that thousands of devices send are kept once. A
 * stranger can displace them, but not make this larger.
 */
const seen: string[] = Array.from({ length: 256 }, () => "");
const MAX_SEEN_LENGTH = 128;

/** `bytes[start, end)`, a character each. */
function text(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length > MAX_SEEN_LENGTH) return latin1(bytes, start, length);
  // FNV-1a
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  const slot = (hash ^ hash >>> 16) & seen.length - 1;
  const candidate = seen[slot]!;
  return isText(candidate, bytes, start, length) ? candidate : seen[slot] = latin1(bytes, start, length);
}

function isText(candidate: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (candidate.length !== length) return false;
  for (let i = 0; i < length; i++) if (candidate.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function latin1(bytes: Uint8Array, start: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
}
