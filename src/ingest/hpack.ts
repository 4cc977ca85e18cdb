/**
 * HPACK: how HTTP/2 packs headers (RFC 7541).
 *
 * What is received may use all of it. What is sent uses the static table and literals only, without
 * Huffman's code: it is short, and does not depend on what others have sent on the connection.
 *
 * @module
 */

/** A header: its name in lower case, and its value, one character per byte. */
export type HeaderField = readonly [name: string, value: string];

/** What came is not HPACK. The rest of the connection cannot be understood. */
export class HeaderBlockError extends Error {}

/** Appendix A; `name` or `name=value`. */
const staticTable: readonly HeaderField[] = `
:authority; :method=GET; :method=POST; :path=/; :path=/index.html; :scheme=http; :scheme=https;
:status=200; :status=204; :status=206; :status=304; :status=400; :status=404; :status=500;
accept-charset; accept-encoding=gzip, deflate; accept-language; accept-ranges; accept;
access-control-allow-origin; age; allow; authorization; cache-control; content-disposition;
content-encoding; content-language; content-length; content-location; content-range; content-type;
cookie; date; etag; expect; expires; from; host; if-match; if-modified-since; if-none-match;
if-range; if-unmodified-since; last-modified; link; location; max-forwards; proxy-authenticate;
proxy-authorization; range; referer; refresh; retry-after; server; set-cookie;
strict-transport-security; transfer-encoding; user-agent; vary; via; www-authenticate
`.split(";").map((entry) => {
  const [name, value = ""] = entry.trim().split("=");
  return [name!, value];
});

/**
 * Appendix B: for each byte, and then for the end of the string, the bits of its code. The codes follow from
 * that: the shorter ones come first, those of one length in the order of the bytes.
 */
const codeBits = `
  13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
  6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
  13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
  15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
  20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
  22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
  26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
  20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
  30
`.trim().split(/\s+/).map(Number);

const END_OF_STRING = 256, SHORTEST_CODE = 5, LONGEST_CODE = 30;

/** The bytes (and the end of the string) in the order of their codes. */
const byCode = [...codeBits.keys()].sort((a, b) => codeBits[a]! - codeBits[b]! || a - b);

/** By length: the first code that is longer, and what to add to a code for its place in {@linkcode byCode}. */
const codeLimit: number[] = [], codeOffset: number[] = [];
for (let bits = SHORTEST_CODE, code = 0, place = 0; bits <= LONGEST_CODE; bits++) {
  const count = codeBits.filter((length) => length === bits).length;
  codeOffset[bits] = place - code;
  place += count;
  codeLimit[bits] = code += count;
  code *= 2;
}

/** Size of the table that {@linkcode HeaderDecoder} keeps (SETTINGS_HEADER_TABLE_SIZE's default). */
const MAX_TABLE_BYTES = 4096;

/** What an entry counts beside its name and value (section 4.1). */
const ENTRY_BYTES = 32;

const sizeOf = ([name, value]: HeaderField) => name.length + value.length + ENTRY_BYTES;

/** Reads the headers of one connection, whose blocks build on each other. */
export class HeaderDecoder {
  /** The dynamic table, newest first; made when the first entry comes. */
  #table: HeaderField[] | undefined;
  #tableBytes = 0;
  #maxTableBytes = MAX_TABLE_BYTES;

  /**
   * Reads one block. Undefined: the headers come to more than `maxBytes`, each name and value and 32 bytes;
   * the next block can be read nevertheless. Throws {@linkcode HeaderBlockError}.
   */
  decode(block: Uint8Array, maxBytes: number): HeaderField[] | undefined {
    const input = new BlockInput(block);
    let fields: HeaderField[] | undefined = [], bytes = 0;
    for (let first = true; !input.ended;) {
      const kind = input.peek();
      if (kind >= 0x20 && kind < 0x40) {
        if (!first) throw new HeaderBlockError("a table size in the middle of a block");
        this.#resize(input.integer(5));
        continue;
      }
      first = false;
      const field = kind >= 0x80 ? this.#indexed(input.integer(7)) : this.#literal(input, kind);
      bytes += sizeOf(field);
      if (bytes > maxBytes) fields = undefined;
      fields?.push(field);
    }
    return fields;
  }

  #literal(input: BlockInput, kind: number): HeaderField {
    const isKept = kind >= 0x40;
    const index = input.integer(isKept ? 6 : 4);
    const name = index === 0 ? input.string() : this.#indexed(index)[0];
    const field: HeaderField = [name, input.string()];
    if (isKept) this.#keep(field);
    return field;
  }

  #indexed(index: number): HeaderField {
    const field = staticTable[index - 1] ?? this.#table?.[index - 1 - staticTable.length];
    if (field === undefined) throw new HeaderBlockError(`no entry ${index} is in the tables`);
    return field;
  }

  #keep(field: HeaderField): void {
    this.#evict(this.#maxTableBytes - sizeOf(field));
    if (sizeOf(field) > this.#maxTableBytes) return;
    (this.#table ??= []).unshift(field);
    this.#tableBytes += sizeOf(field);
  }

  #resize(bytes: number): void {
    if (bytes > MAX_TABLE_BYTES) throw new HeaderBlockError(`a table of ${bytes} bytes`);
    this.#maxTableBytes = bytes;
    this.#evict(bytes);
  }

  /** Forgets the oldest until the rest takes `maxBytes` at the most. */
  #evict(maxBytes: number): void {
    while (this.#table !== undefined && this.#table.length > 0 && this.#tableBytes > maxBytes) {
      this.#tableBytes -= sizeOf(this.#table.pop()!);
    }
  }
}

/** A block, from front to back. */
class BlockInput {
  #at = 0;

  constructor(readonly block: Uint8Array) {}

  get ended(): boolean {
    return this.#at === this.block.length;
  }

  peek(): number {
    const byte = this.block[this.#at];
    if (byte === undefined) throw new HeaderBlockError("the block ends inside a header");
    return byte;
  }

  /** An integer that begins with the last `bits` of the next byte (section 5.1). */
  integer(bits: number): number {
    const max = (1 << bits) - 1;
    let value = this.#byte() & max;
    if (value < max) return value;
    for (let shift = 0;; shift += 7) {
      if (shift > 21) throw new HeaderBlockError("an integer above what is needed");
      const byte = this.#byte();
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }

  /** A string (section 5.2). */
  string(): string {
    const isHuffman = this.peek() >= 128;
    const length = this.integer(7), start = this.#at;
    if (length > this.block.length - start) throw new HeaderBlockError("a string ends behind its block");
    const bytes = this.block.subarray(start, this.#at += length);
    return isHuffman ? huffmanText(bytes) : latin1(bytes);
  }

  #byte(): number {
    const byte = this.peek();
    this.#at++;
    return byte;
  }
}

/** At once: a text put together letter by letter takes many times its size. */
function latin1(bytes: Uint8Array): string {
  return String.fromCharCode.apply(undefined, bytes as unknown as number[]);
}

function huffmanText(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.floor(bytes.length * 8 / SHORTEST_CODE));
  let length = 0, code = 0, bits = 0;
  for (let i = 0; i < bytes.length; i++) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code << 1 | bytes[i]! >> bit & 1;
      bits++;
      if (bits < SHORTEST_CODE || code >= codeLimit[bits]!) continue;
      const symbol = byCode[code + codeOffset[bits]!]!;
      if (symbol === END_OF_STRING) throw new HeaderBlockError("Huffman's code of the end, before it");
      text[length++] = symbol;
      code = bits = 0;
    }
  }
  // Up to seven bits fill the last byte, all ones, as no code begins.
  if (bits > 7 || code !== (1 << bits) - 1) throw new HeaderBlockError("a Huffman code is cut off");
  return latin1(text.subarray(0, length));
}

const indexOfField = new Map(staticTable.map(([name, value], i) => [`${name}=${value}`, i + 1]));

/** Encodes headers; values of at most 2^21 bytes. */
export function encodeHeaders(fields: Iterable<HeaderField>): Uint8Array {
  const bytes: number[] = [];
  for (const [name, value] of fields) {
    const index = indexOfField.get(`${name}=${value}`);
    if (index !== undefined) bytes.push(0x80 | index);
    else {
      bytes.push(0);
      pushString(bytes, name);
      pushString(bytes, value);
    }
  }
  return new Uint8Array(bytes);
}

function pushString(bytes: number[], text: string): void {
  if (text.length < 127) bytes.push(text.length);
  else {
    bytes.push(127);
    let rest = text.length - 127;
    for (; rest >= 128; rest >>= 7) bytes.push(128 | rest & 127);
    bytes.push(rest);
  }
  for (let i = 0; i < text.length; i++) bytes.push(text.charCodeAt(i) & 255);
}
