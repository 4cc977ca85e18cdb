/**
 * Senders of HPACK: a model that uses all there is but Huffman codes, with its dynamic table kept in the
 * plainest way, and nghttp2 (by `node:http2`).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type OutgoingHttpHeaders } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";

import type { HeaderField } from "../../src/http2/hpack/tables.ts";
import { frame } from "../support/http2_frames.ts";
import { HEADERS, SETTINGS } from "../support/http2_numbers.ts";
import type { Random } from "../support/random.ts";
import { until } from "../support/until.ts";

/** Kinds of literals (RFC 7541, 6.2). */
export const INDEXING = 0x40, PLAIN = 0, NEVER_INDEXED = 0x10;

function integer(flags: number, prefixBits: number, value: number): number[] {
  const max = 2 ** prefixBits - 1;
  if (value < max) return [flags | value];
  const rest = [];
  for (value -= max; value >= 128; value = Math.floor(value / 128)) rest.push(128 + value % 128);
  return [flags | max, ...rest, value];
}

/** A literal of a kind, with its name, or the index of that, and without Huffman codes. */
export function literal(kind: number, name: string | number, value: string): Uint8Array {
  const index = typeof name === "number" ? name : 0;
  const text = (chars: string) => [...integer(0, 7, chars.length), ...Buffer.from(chars, "latin1")];
  return Uint8Array.from([
    ...integer(kind, kind === INDEXING ? 6 : 4, index),
    ...typeof name === "number" ? [] : text(name),
    ...text(value),
  ]);
}

/** What a field counts for (RFC 7541, 4.1). */
export function sizeOf([name, value]: HeaderField): number {
  return name.length + value.length + 32;
}

/** Sends blocks of all kinds of fields, and keeps the dynamic table in the plainest way. */
export class ModelSender {
  /** The newest first. */
  #table: HeaderField[] = [];
  #maxBytes = 4096;

  /** Its choices are `random`'s. */
  constructor(readonly random: Random) {}

  /** A block, and the fields in it. */
  next(): { block: Uint8Array; fields: HeaderField[] } {
    const { random } = this;
    const parts: Uint8Array[] = [], fields: HeaderField[] = [];
    for (let i = random.chance(0.2) ? random.int(1, 2) : 0; i > 0; i--) {
      this.#maxBytes = random.pick([
        0,
        random.int(0, 300),
        random.int(0, 4096),
        4096,
        // What the next field fits into, or just does not.
        Math.min(4096, this.#bytes() + random.int(30, 50)),
      ]);
      this.#evict();
      parts.push(Uint8Array.from(integer(0x20, 5, this.#maxBytes)));
    }
    for (let i = random.int(1, 12); i > 0; i--) {
      if (this.#table.length > 0 && random.chance(0.4)) {
        const at = random.int(0, this.#table.length - 1);
        parts.push(Uint8Array.from(integer(0x80, 7, 62 + at)));
        fields.push(this.#table[at]!);
        continue;
      }
      const kind = random.pick([INDEXING, INDEXING, INDEXING, PLAIN, NEVER_INDEXED]);
      const value = latin1(random, 0, random.pick([5, 100, 1000]));
      const at = random.chance(0.3) ? random.int(0, this.#table.length - 1) : -1;
      const name = this.#table[at]?.[0] ?? latin1(random, 0, 20);
      parts.push(literal(kind, this.#table[at] === undefined ? name : 62 + at, value));
      fields.push([name, value]);
      if (kind === INDEXING) this.#table.unshift([name, value]);
      this.#evict();
    }
    return { block: Buffer.concat(parts), fields };
  }

  #bytes(): number {
    return this.#table.reduce((sum, field) => sum + sizeOf(field), 0);
  }

  #evict(): void {
    while (this.#bytes() > this.#maxBytes) this.#table.pop();
  }
}

/** Random characters from U+0000 to U+00FF. */
export function latin1(random: Random, minLength: number, maxLength: number): string {
  return Buffer.from(random.bytes(random.int(minLength, maxLength))).toString("latin1");
}

/** The blocks a client of `node:http2` sends for these requests on one connection. */
export async function blocksOfClient(requests: OutgoingHttpHeaders[]): Promise<Uint8Array[]> {
  const sockets: Socket[] = [], received: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => received.push(chunk));
    socket.write(frame(SETTINGS, 0, 0));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  session.on("error", () => {});
  try {
    for (const headers of requests) session.request(headers).on("error", () => {});
    const blocks = () => headerBlocks(Buffer.concat(received));
    await until(() => blocks().length === requests.length, "every request came");
    return blocks();
  } finally {
    session.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** Of the whole HEADERS frames after the preface; they have neither padding nor a priority. */
function headerBlocks(received: Buffer): Uint8Array[] {
  const blocks = [];
  for (let at = 24; at + 9 <= received.length;) {
    const end = at + 9 + received.readUIntBE(at, 3);
    if (end > received.length) break;
    if (received[at + 3] === HEADERS) blocks.push(received.subarray(at + 9, end));
    at = end;
  }
  return blocks;
}
