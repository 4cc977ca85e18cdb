/**
 * What a client may send, made of a seed: frames that keep every rule, frames that do not, and bytes that
 * were changed on their way.
 *
 * @module
 */
import { headerBlock, preface, uint32 } from "../http2/raw_connection.ts";
import { frame, joined } from "../support/http2_frames.ts";
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HAS_PRIORITY,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  PADDED,
  PING,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { literal, ModelSender } from "../http2/hpack_senders.ts";
import type { Random } from "../support/random.ts";

/** Paths of calls that the fuzzer's handler serves, and of those that its grpc-js does. */
export const NATIVE_PATH = "/native/Call", BRIDGED_PATH = "/bridged/Call";

/** A connection's worth of bytes, and what of them is known. */
export interface FrameSequence {
  /** `valid`: every rule is kept; `wild`: none need be; `mutated`: bytes were changed. */
  readonly mode: "valid" | "wild" | "mutated";
  readonly bytes: Uint8Array;
  /** SETTINGS and PING frames that ask for an ACK, the preface's included. */
  readonly settings: number;
  readonly pings: number;
  /** The DATA of each call served natively. */
  readonly native: ReadonlyMap<number, Uint8Array>;
  /** The greatest INITIAL_WINDOW_SIZE it sets, and what WINDOW_UPDATE adds to it; stream 0 is the connection. */
  readonly initialWindowBytes: number;
  readonly windowUpdates: ReadonlyMap<number, number>;
}

/** `x-t: 1` */
const trailerBlock = literal(0, "x-t", "1");

/** A sequence. */
export function frameSequence(random: Random): FrameSequence {
  const mode = random.pick(["valid", "valid", "wild", "wild", "mutated"] as const);
  const client = new RandomClient(random);
  const frames = random.pick([3, 10, 30, 60]);
  // Many a broken rule ends the connection, and nothing after it is looked at.
  const breaks = mode === "wild" ? random.pick([0.05, 0.3]) : 0;
  for (let i = random.int(1, frames); i > 0; i--) {
    if (random.chance(breaks)) client.breakRule();
    else client.keepRules();
  }
  const bytes = joined(preface, ...client.parts);
  if (mode === "mutated") {
    for (let i = random.int(1, 5); i > 0; i--) bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
  }
  const { settings, pings, initialWindowBytes, windowUpdates } = client;
  const native = new Map([...client.native].map(([id, parts]) => [id, joined(...parts)]));
  return { mode, bytes, settings, pings, native, initialWindowBytes, windowUpdates };
}

/** Cuts bytes as a network might: anywhere. */
export function randomChunks(random: Random, bytes: Uint8Array): Uint8Array[] {
  const most = random.pick([1, 10, 100, 100, 5000, 5000, bytes.length, bytes.length]);
  const chunks: Uint8Array[] = [];
  // Thousands of chunks of one byte show no more than some hundred.
  const least = Math.ceil(bytes.length / 200);
  for (let at = 0; at < bytes.length;) {
    const length = Math.max(least, random.int(1, most));
    chunks.push(bytes.slice(at, at + length));
    at += length;
  }
  return chunks;
}

class RandomClient {
  readonly parts: Uint8Array[] = [];
  readonly native = new Map<number, Uint8Array[]>();
  readonly windowUpdates = new Map<number, number>();
  settings = 1;
  pings = 0;
  initialWindowBytes = INITIAL_WINDOW_BYTES;
  /** Calls whose client side is open. */
  readonly #open: number[] = [];
  /** Calls whose client side is not, by END_STREAM or RST_STREAM. */
  readonly #over: number[] = [];
  readonly #hpack: ModelSender;
  #nextId = 1;
  #roomBytes = INITIAL_WINDOW_BYTES;

  constructor(readonly random: Random) {
    this.#hpack = new ModelSender(random);
    if (random.chance(0.8)) return;
    // Nothing is answered at first but what this lets through.
    this.initialWindowBytes = random.pick([0, 10, 1000]);
    this.#push(frame(SETTINGS, 0, 0, [0, 4, ...uint32(this.initialWindowBytes)]));
    this.settings++;
  }

  /** One step of a client that means well. */
  keepRules(): void {
    const { random } = this;
    const id = this.#open.length === 0 ? undefined : random.pick(this.#open);
    if (id === undefined || random.chance(0.2)) return this.#openCall();
    random.pick([
      () => this.#data(id),
      () => this.#data(id),
      () => this.#data(id),
      () => this.#trailers(id),
      () => this.#reset(id),
      () => this.#windowUpdate(random.pick([0, id])),
      () => this.#push(frame(PRIORITY, 0, id, [...uint32(0), random.int(0, 255)])),
      () => this.#changeSettings(),
      () => this.#ping(),
      () => this.#push(frame(PING, ACK, 0, random.bytes(8))),
      () => this.#push(frame(SETTINGS, ACK, 0)),
      () => this.#push(frame(random.int(10, 255), random.int(0, 255), random.int(0, 9), random.bytes(9))),
    ])();
  }

  /** One step of a client that does not, or cannot. */
  breakRule(): void {
    const { random } = this, some = random.bytes(random.int(0, 20));
    // A stream in whatever state: open, over, idle, or none.
    const id = random.pick([random.pick([0, ...this.#open]), random.pick([0, ...this.#over]), this.#anyId()]);
    random.pick([
      () => this.#afterEnd(),
      () => this.#afterEnd(),
      () => this.#afterEnd(),
      () => this.#push(frame(random.int(0, 10), random.int(0, 255), id, some)),
      () => this.#push(frame(DATA, random.pick([0, END_STREAM, PADDED]), id, some)),
      () => this.#push(frame(HEADERS, random.int(0, 255), id, some)),
      () => this.#headers(id, malformedBlock(random), END_STREAM),
      () => this.#headers(this.#takeId(), malformedBlock(random), 0),
      () => this.#headers(this.#takeId(), this.#hpack.next().block, random.pick([0, END_STREAM])),
      () => this.#push(frame(CONTINUATION, random.pick([0, END_HEADERS]), id, some)),
      () => this.#push(frame(PRIORITY, 0, id, [...uint32(id), 1])),
      () => this.#push(frame(RST_STREAM, 0, id, uint32(random.int(0, 20)))),
      () =>
        this.#push(frame(WINDOW_UPDATE, 0, id, uint32(random.pick([0, 1, MAX_WINDOW_BYTES, 2 ** 32 - 1])))),
      () => this.#push(frame(SETTINGS, random.pick([0, ACK]), random.pick([0, 0, id]), some)),
      () => this.#push(frame(SETTINGS, 0, 0, [0, random.int(0, 8), ...random.bytes(4)])),
      () => this.#push(frame(PING, 0, random.pick([0, id]), some)),
      () => this.#push(frame(PUSH_PROMISE, END_HEADERS, id, [...uint32(2), ...some])),
      () => this.#push(frame(GOAWAY, 0, 0, [...uint32(id), ...uint32(random.int(0, 14))])),
      // A length that nothing follows, and bytes that are no frame.
      () => this.#push(frame(random.int(0, 9), 0, id).subarray(0, random.int(1, 9))),
      () => this.#push(random.bytes(random.int(1, 40))),
    ])();
  }

  /** Something on a stream that this client has ended, or reset. */
  #afterEnd(): void {
    const { random } = this;
    if (this.#over.length === 0) return;
    const id = random.pick(this.#over), flags = random.pick([0, END_STREAM]);
    random.pick([
      () => this.#push(frame(DATA, flags, id, random.bytes(random.int(0, 20)))),
      () => this.#headers(id, headerBlock(NATIVE_PATH), flags),
      () => this.#headers(id, trailerBlock, END_STREAM),
      () => this.#push(frame(RST_STREAM, 0, id, uint32(8))),
      () => this.#push(frame(WINDOW_UPDATE, 0, id, uint32(random.pick([0, 1, MAX_WINDOW_BYTES])))),
      () => this.#push(frame(PRIORITY, 0, id, [...uint32(random.pick([0, id])), 1])),
    ])();
  }

  #anyId(): number {
    return this.random.int(0, this.#nextId + 2);
  }

  #push(part: Uint8Array): void {
    this.parts.push(part);
  }

  #takeId(): number {
    const id = this.#nextId;
    // A client may leave some out.
    this.#nextId += 2 * this.random.pick([1, 1, 1, 2, 10]);
    return id;
  }

  #openCall(): void {
    const { random } = this, id = this.#takeId();
    const isNative = random.chance(0.7), ends = random.chance(0.1);
    const more: Record<string, string> = {};
    if (random.chance(0.2)) more["x-some"] = "y".repeat(random.pick([0, 10, 3000]));
    if (random.chance(0.2)) more["telemetry-session"] = `session-${random.int(0, 9)}`;
    this.#headers(id, headerBlock(isNative ? NATIVE_PATH : BRIDGED_PATH, more), ends ? END_STREAM : 0);
    if (isNative) this.native.set(id, []);
    (ends ? this.#over : this.#open).push(id);
  }

  /** A block in one frame or in several, with padding and a priority where it pleases. */
  #headers(id: number, block: Uint8Array | readonly number[], flags: number): void {
    const { random } = this, bytes = Uint8Array.from(block);
    const pieces = random.pick([1, 1, 1, 2, 5]), length = Math.ceil(bytes.length / pieces);
    const first = bytes.subarray(0, length), hasRest = length < bytes.length;
    let payload: Uint8Array = first;
    if (random.chance(0.2)) {
      // On a stream of its own: none depends on itself.
      payload = joined(Uint8Array.from([...uint32(0), random.int(0, 255)]), payload);
      flags |= HAS_PRIORITY;
    }
    if (random.chance(0.2)) [payload, flags] = padded(random, payload, flags);
    this.#push(frame(HEADERS, flags | (hasRest ? 0 : END_HEADERS), id, payload));
    for (let at = length; at < bytes.length; at += length) {
      const isLast = at + length >= bytes.length;
      this.#push(frame(CONTINUATION, isLast ? END_HEADERS : 0, id, bytes.subarray(at, at + length)));
    }
  }

  #data(id: number): void {
    const { random } = this;
    const data = random.bytes(random.pick([0, random.int(1, 30), random.int(1, 30), random.int(30, 2000)]));
    const ends = random.chance(0.2);
    let payload: Uint8Array = data, flags = ends ? END_STREAM : 0;
    if (random.chance(0.2)) [payload, flags] = padded(random, payload, flags);
    if (payload.length > this.#roomBytes) return;
    this.#roomBytes -= payload.length;
    this.#push(frame(DATA, flags, id, payload));
    this.native.get(id)?.push(data);
    if (ends) this.#close(id);
  }

  #trailers(id: number): void {
    this.#headers(id, trailerBlock, END_STREAM);
    this.#close(id);
  }

  #reset(id: number): void {
    this.#push(frame(RST_STREAM, 0, id, uint32(this.random.pick([0, 5, 8]))));
    this.native.delete(id);
    this.#close(id);
  }

  #close(id: number): void {
    this.#open.splice(this.#open.indexOf(id), 1);
    this.#over.push(id);
  }

  #changeSettings(): void {
    const { random } = this;
    const entries = Array.from({ length: random.int(0, 4) }, () =>
      random.pick([
        [0, 1, ...uint32(random.int(0, 10_000))],
        [0, 2, ...uint32(0)],
        [0, 3, ...uint32(random.int(0, 1000))],
        [0, 4, ...uint32(this.#newWindow())],
        [0, 5, ...uint32(random.pick([16_384, 16_777_215]))],
        [0, 6, ...uint32(random.int(0, 100_000))],
        [0x77, 0x77, ...uint32(1)],
      ]));
    this.#push(frame(SETTINGS, 0, 0, entries.flat()));
    this.settings++;
  }

  #newWindow(): number {
    const bytes = this.random.pick([0, 1, 65_535, 1_000_000]);
    this.initialWindowBytes = Math.max(this.initialWindowBytes, bytes);
    return bytes;
  }

  #windowUpdate(id: number): void {
    const bytes = this.random.pick([1, 100, this.random.int(1, 100_000)]);
    this.windowUpdates.set(id, (this.windowUpdates.get(id) ?? 0) + bytes);
    this.#push(frame(WINDOW_UPDATE, 0, id, uint32(bytes)));
  }

  #ping(): void {
    this.#push(frame(PING, 0, 0, this.random.bytes(8)));
    this.pings++;
  }
}

function padded(random: Random, payload: Uint8Array, flags: number): [Uint8Array, number] {
  const padding = random.int(0, 30);
  return [joined(Uint8Array.of(padding), payload, new Uint8Array(padding)), flags | PADDED];
}

/** A request with one thing wrong. */
function malformedBlock(random: Random): number[] {
  return random.pick([
    () => headerBlock(NATIVE_PATH, { "Upper-Case": "x" }),
    () => headerBlock(NATIVE_PATH, { connection: "keep-alive" }),
    () => headerBlock(NATIVE_PATH, { te: "gzip" }),
    () => headerBlock(NATIVE_PATH, { "x-nul": "a\0b" }),
    () => headerBlock(NATIVE_PATH, { "x-line": "a\r\nb: c" }),
    () => headerBlock(NATIVE_PATH, { "": "no name" }),
    () =>
      headerBlock(NATIVE_PATH, { "content-length": random.pick(["-1", "1e3", "5", "99999999999999999999"]) }),
    () => headerBlock(NATIVE_PATH, { ":path": "" }),
    () => headerBlock(NATIVE_PATH, { ":unknown": "x" }),
    () => headerBlock(NATIVE_PATH, { ":status": "200" }),
    () => headerBlock("no-slash"),
    () => [...headerBlock(NATIVE_PATH), 0x83], // :method again, and late
    () => headerBlock(NATIVE_PATH).slice(1), // no :method
    () => headerBlock(NATIVE_PATH, { "content-type": "text/plain" }),
    () => headerBlock(NATIVE_PATH, { "x-large": "y".repeat(16_000), "x-larger": "y".repeat(16_000) }),
  ])();
}
