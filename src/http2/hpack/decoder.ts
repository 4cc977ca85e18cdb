/**
 * Decodes HPACK header blocks. All of HPACK is supported: both tables, every representation, Huffman codes.
 *
 * @module
 */
import { huffmanText } from "./huffman.ts";
import { cachedText } from "./string_cache.ts";
import { bytesOf, DEFAULT_TABLE_BYTES, HeaderBlockError, type HeaderField, staticTable } from "./tables.ts";

/** Decodes the header blocks of one connection, whose dynamic table it keeps. */
export class HeaderDecoder {
  /** The dynamic table: names and values alternate, oldest first; takes half the memory of an array per field. */
  #table: string[] | undefined;
  #tableBytes = 0;
  #maxTableBytes = DEFAULT_TABLE_BYTES;

  /**
   * Returns all fields in order, pseudo-header fields included; undefined when their size (names, values and 32 bytes
   * each) exceeds `maxListBytes`. The dynamic table is updated in both cases. Throws {@linkcode HeaderBlockError}, after
   * which no later block of the connection can be decoded.
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

  /** Reads a field in any representation (section 6), which its `first` byte determines. */
  #decodeField(reader: BlockReader, first: number): HeaderField {
    if (first >= 0b1000_0000) return this.#field(reader.integer(7));
    if (first >> 5 === 0b001) {
      throw new HeaderBlockError("a dynamic table size update after a field of the block");
    }
    const indexing = first >= 0b0100_0000;
    const nameIndex = reader.integer(indexing ? 6 : 4);
    const name = nameIndex === 0 ? reader.string() : this.#field(nameIndex)[0];
    const value = reader.string();
    if (indexing) this.#insert(name, value);
    return [name, value];
  }

  /** The field with this index: first the static table, then the dynamic one, newest first (section 2.3.3). */
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

  /** Adds a field; one larger than the table empties it, which is no error (section 4.4). */
  #insert(name: string, value: string): void {
    const bytes = bytesOf(name, value);
    this.#evict(this.#maxTableBytes - bytes);
    if (bytes > this.#maxTableBytes) return;
    (this.#table ??= []).push(name, value);
    this.#tableBytes += bytes;
  }

  /** Dynamic table size update (section 4.3). */
  #resize(bytes: number): void {
    if (bytes > DEFAULT_TABLE_BYTES) {
      throw new HeaderBlockError(
        `a dynamic table of ${bytes} bytes: at most ${DEFAULT_TABLE_BYTES}`,
      );
    }
    this.#maxTableBytes = bytes;
    this.#evict(bytes);
  }

  /** Removes the oldest fields until the others take at most `maxBytes`, or none is left. */
  #evict(maxBytes: number): void {
    const table = this.#table;
    while (table !== undefined && table.length > 0 && this.#tableBytes > maxBytes) {
      this.#tableBytes -= bytesOf(table.shift()!, table.shift()!);
    }
  }
}

/** Reads the integers and strings of a block. */
class BlockReader {
  /** Offset of the next byte to read. */
  at = 0;

  constructor(readonly block: Uint8Array) {}

  /**
   * Reads an integer (section 5.1) with at most four bytes after its prefix. The values above, from 2^28 on, exceed the
   * length of any block and the index of any field.
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
    throw new HeaderBlockError("an integer of more than four bytes after its prefix");
  }

  /** Reads a string literal, plain or Huffman-coded (section 5.2). */
  string(): string {
    const isHuffman = this.block[this.at]! >= 128;
    const length = this.integer(7);
    const start = this.at, end = start + length;
    if (end > this.block.length) {
      throw new HeaderBlockError(
        `a string of ${length} bytes: the block has ${this.block.length - start} more`,
      );
    }
    this.at = end;
    return isHuffman ? huffmanText(this.block, start, end) : cachedText(this.block, start, end);
  }

  #byte(): number {
    if (this.at >= this.block.length) throw new HeaderBlockError("the block ends inside a field");
    return this.block[this.at++]!;
  }
}
