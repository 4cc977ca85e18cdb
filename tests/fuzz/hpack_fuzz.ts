/**
 * HPACK blocks: whole, mutated and random, decoded as a decoder of the plainest kind decodes them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { HeaderDecoder } from "../../src/http2/hpack/decoder.ts";
import { encodeHeaders } from "../../src/http2/hpack/encoder.ts";
import { HeaderBlockError, type HeaderField } from "../../src/http2/hpack/tables.ts";
import { ModelSender, sizeOf } from "../http2/hpack_senders.ts";
import type { Random } from "../support/random.ts";
import type { FuzzTarget } from "./fuzz_run.ts";

/** A bound on a list of fields, as a connection has one. */
const MAX_LIST_BYTES = 16_384;

/** Blocks of one connection: its table goes on from one to the next. */
function fuzzBlocks(random: Random): void {
  const sender = new ModelSender(random), decoder = new HeaderDecoder(), model = new ModelDecoder();
  const mutates = random.chance(0.6);
  for (let i = random.int(1, 6); i > 0; i--) {
    const sent = sender.next();
    const block = mutates ? mutated(random, sent.block) : sent.block;
    const ours = outcomeOf(() => decoder.decode(block, MAX_LIST_BYTES));
    const theirs = outcomeOf(() => model.decode(block));
    if (theirs === "unknown") return;
    if (ours === "malformed" || theirs === "malformed") {
      // What comes after has no meaning for either.
      if (ours === theirs) return;
      throw new Error(
        `a block is ${ours === "malformed" ? "refused" : "accepted"}, and should not be: ${hex(block)}`,
      );
    }
    const fields = theirs as HeaderField[];
    const bytes = fields.reduce((sum, field) => sum + sizeOf(field), 0);
    const expected = bytes > MAX_LIST_BYTES ? undefined : fields;
    if (!mutates && JSON.stringify(fields) !== JSON.stringify(sent.fields)) {
      throw new Error(`the model itself is wrong about ${hex(block)}`);
    }
    if (JSON.stringify(ours) !== JSON.stringify(expected)) throw new Error(`decoded wrongly: ${hex(block)}`);
  }
  const fields = sender.next().fields;
  const decoded = new ModelDecoder().decode(encodeHeaders(fields));
  if (JSON.stringify(decoded) !== JSON.stringify(fields)) {
    throw new Error(`encoded wrongly: ${JSON.stringify(fields)}`);
  }
}

function outcomeOf<T>(body: () => T): T | "malformed" | "unknown" {
  try {
    return body();
  } catch (error) {
    if (error instanceof HeaderBlockError || error instanceof Malformed) return "malformed";
    if (error instanceof HuffmanCoded) return "unknown";
    throw error;
  }
}

function mutated(random: Random, block: Uint8Array): Uint8Array {
  if (random.chance(0.1)) return random.bytes(random.int(0, 60));
  const bytes = block.slice(0, random.chance(0.2) ? random.int(0, block.length) : block.length);
  for (let i = random.int(0, 3); i > 0 && bytes.length > 0; i--) {
    bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
  }
  return bytes;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

class Malformed extends Error {}

/** The model does not decode Huffman codes: `hpack_test.ts` has them against nghttp2. */
class HuffmanCoded extends Error {}

/** The entries of the static table (RFC 7541, appendix A) that have a value. */
const staticValues = new Map<number, string>([
  ...[[2, "GET"], [3, "POST"], [4, "/"], [5, "/index.html"], [6, "http"], [7, "https"]] as const,
  ...[[8, "200"], [9, "204"], [10, "206"], [11, "304"], [12, "400"], [13, "404"], [14, "500"]] as const,
  [16, "gzip, deflate"] as const,
]);

const staticNames =
  (":authority :method :method :path :path :scheme :scheme :status :status :status :status :status :status " +
    ":status accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin " +
    "age allow authorization cache-control content-disposition content-encoding content-language " +
    "content-length content-location content-range content-type cookie date etag expect expires from host " +
    "if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location " +
    "max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie " +
    "strict-transport-security transfer-encoding user-agent vary via www-authenticate").split(" ");

/** RFC 7541 as it is written, without a thought of speed. */
class ModelDecoder {
  #table: HeaderField[] = [];
  #maxBytes = 4096;
  #block: Uint8Array = new Uint8Array(0);
  #at = 0;

  decode(block: Uint8Array): HeaderField[] {
    this.#block = block;
    this.#at = 0;
    const fields: HeaderField[] = [];
    while (this.#at < block.length) {
      const first = block[this.#at]!;
      if (first >= 128) fields.push(this.#field(this.#integer(7)));
      else if (first >= 64) {
        const field = this.#literal(6);
        fields.push(field);
        this.#table.unshift(field);
        this.#evict();
      } else if (first >= 32) {
        if (fields.length > 0) throw new Malformed();
        this.#maxBytes = this.#integer(5);
        if (this.#maxBytes > 4096) throw new Malformed();
        this.#evict();
      } else fields.push(this.#literal(4));
    }
    return fields;
  }

  #literal(prefixBits: number): HeaderField {
    const index = this.#integer(prefixBits);
    const name = index === 0 ? this.#string() : this.#field(index)[0];
    return [name, this.#string()];
  }

  #field(index: number): HeaderField {
    const name = staticNames[index - 1];
    const field = name === undefined
      ? this.#table[index - 62]
      : [name, staticValues.get(index) ?? ""] as const;
    if (field === undefined) throw new Malformed();
    return field;
  }

  #integer(prefixBits: number): number {
    const max = 2 ** prefixBits - 1;
    let value = this.#byte() & max;
    if (value < max) return value;
    for (let i = 0; i < 4; i++) {
      const byte = this.#byte();
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return value;
    }
    throw new Malformed(); // an implementation's own bound, see `src/http2`
  }

  #string(): string {
    if ((this.#block[this.#at] ?? 0) >= 128) throw new HuffmanCoded();
    const length = this.#integer(7), end = this.#at + length;
    if (end > this.#block.length) throw new Malformed();
    const text = Buffer.from(this.#block.subarray(this.#at, end)).toString("latin1");
    this.#at = end;
    return text;
  }

  #byte(): number {
    if (this.#at >= this.#block.length) throw new Malformed();
    return this.#block[this.#at++]!;
  }

  #evict(): void {
    const bytes = () => this.#table.reduce((sum, field) => sum + sizeOf(field), 0);
    while (this.#table.length > 0 && bytes() > this.#maxBytes) this.#table.pop();
  }
}

/** See the module. */
export const hpackFuzz: FuzzTarget = { name: "HPACK", run: fuzzBlocks };
