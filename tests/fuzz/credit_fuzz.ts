/**
 * Flow-control credit: however the calls of a connection end, what was sent on them is given back, so that the
 * connection never runs dry.
 *
 * @module
 */
import { preface, requestHeaders, uint32 } from "../http2/raw_connection.ts";
import { frame, FrameReader, joined } from "../support/http2_frames.ts";
import {
  CANCEL,
  DATA,
  END_STREAM,
  INITIAL_WINDOW_BYTES,
  MAX_FRAME_BYTES,
  PADDED,
  RST_STREAM,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import type { Random } from "../support/random.ts";
import { type EngineStream, MemorySocket, startEngine, type StreamEvents } from "./engine.ts";
import { turn } from "./engine_fuzz.ts";
import { BRIDGED_PATH, NATIVE_PATH } from "./frame_sequences.ts";
import type { FuzzTarget } from "./fuzz_run.ts";
import { GrpcJsStub } from "./grpc_js_stub.ts";

/** DATA of a case: several times the window of a connection, on fewer calls than any budget. */
const CASE_BYTES = 3 * 2 ** 20, MAX_CALLS = 150;

/** Turns without a byte of room, after which none will come. */
const DRY_TURNS = 50;

/** What the handlers and the client of a case do, always. */
interface Habits {
  readonly isNative: boolean;
  /** The handler buffers, and consumes a turn later or never. */
  readonly buffers: "no" | "a turn" | "for ever";
  /** How a call ends, after its DATA or in the middle of it. */
  readonly ending:
    | "END_STREAM"
    | "reset by the client"
    | "reset by the handler"
    | "ended early by the handler";
  readonly paddingBytes: number;
  readonly bytesPerCall: number;
}

async function fuzzCredit(random: Random): Promise<void> {
  const habits: Habits = {
    isNative: random.chance(0.7),
    buffers: random.pick(["no", "a turn", "for ever"]),
    ending: random.pick([
      "END_STREAM",
      "reset by the client",
      "reset by the handler",
      "ended early by the handler",
    ]),
    paddingBytes: random.pick([0, 0, 0, 255]),
    bytesPerCall: random.int(Math.ceil(CASE_BYTES / MAX_CALLS), 60_000),
  };
  const client = new CreditClient(random, habits);
  for (let id = 1, sent = 0; sent < CASE_BYTES; id += 2, sent += habits.bytesPerCall) {
    if (!await client.call(id)) {
      client.close();
      throw new Error(`the connection's window ran dry after ${sent} bytes: ${JSON.stringify(habits)}`);
    }
  }
  client.close();
  await turn();
}

/** A client that keeps to the windows, and what serves it. */
class CreditClient {
  readonly #socket: MemorySocket;
  readonly #frames = new FrameReader();
  readonly #stubs: GrpcJsStub[] = [];
  readonly #handled = new Map<number, BufferingCall>();
  #room = INITIAL_WINDOW_BYTES;
  /** Of the call at hand. */
  #callId = 0;
  #callRoom = 0;
  #callOver = false;

  constructor(readonly random: Random, readonly habits: Habits) {
    this.#socket = new MemorySocket((bytes) => this.#frames.read(bytes, (...frame) => this.#take(...frame)));
    startEngine({
      socket: this.#socket,
      isNative: (path) => path === NATIVE_PATH,
      opened: (stream) => {
        const call = new BufferingCall(stream, habits);
        this.#handled.set(stream.id, call);
        return call;
      },
      inject: (duplex) => void this.#stubs.push(new GrpcJsStub(random, duplex, () => {})),
    });
    this.#socket.deliver(preface);
  }

  /** Makes one call; resolves to false when there was no room for its DATA, ever. */
  async call(id: number): Promise<boolean> {
    const { habits } = this;
    this.#callId = id;
    this.#callRoom = INITIAL_WINDOW_BYTES;
    this.#callOver = false;
    this.#socket.deliver(requestHeaders(id, habits.isNative ? NATIVE_PATH : BRIDGED_PATH));
    // Of padding there is more than of data, or its credit would not be missed.
    const overhead = habits.paddingBytes === 0 ? 0 : 1 + habits.paddingBytes;
    const most = overhead === 0 ? MAX_FRAME_BYTES : 100;
    for (let left = habits.bytesPerCall, dry = 0; left > 0;) {
      const length = Math.min(left, most, Math.min(this.#room, this.#callRoom) - overhead);
      if (length <= 0) {
        // A call that buffers for ever may run dry; the connection must not.
        if (this.#callOver || (this.#room > overhead && habits.buffers === "for ever")) break;
        if (dry++ === DRY_TURNS) return false;
        await this.#turn();
        continue;
      }
      dry = 0;
      this.#data(id, length, overhead);
      left -= length;
    }
    await this.#turn();
    this.#end(id);
    await this.#turn();
    return true;
  }

  close(): void {
    this.#socket.destroy();
  }

  #data(id: number, length: number, overhead: number): void {
    const data = new Uint8Array(length), padding = this.habits.paddingBytes;
    const payload = padding === 0 ? data : joined(Uint8Array.of(padding), data, new Uint8Array(padding));
    this.#room -= length + overhead;
    this.#callRoom -= length + overhead;
    this.#socket.deliver(frame(DATA, padding === 0 ? 0 : PADDED, id, payload));
  }

  #end(id: number): void {
    if (this.habits.ending === "reset by the client" || this.habits.buffers === "for ever") {
      this.#socket.deliver(frame(RST_STREAM, 0, id, uint32(CANCEL)));
    } else if (!this.#callOver) this.#socket.deliver(frame(DATA, END_STREAM, id));
  }

  async #turn(): Promise<void> {
    for (const call of this.#handled.values()) call.step();
    for (const stub of this.#stubs) stub.step();
    await turn();
  }

  #take(type: number, _flags: number, streamId: number, payload: Uint8Array): void {
    if (type === RST_STREAM && streamId === this.#callId) this.#callOver = true;
    if (type !== WINDOW_UPDATE) return;
    const increment = new DataView(payload.buffer, payload.byteOffset).getUint32(0);
    if (streamId === 0) this.#room += increment;
    else if (streamId === this.#callId) this.#callRoom += increment;
  }
}

/** A call of a handler with these habits. */
class BufferingCall implements StreamEvents {
  waiting: boolean;
  #over = false;
  #receivedBytes = 0;

  constructor(readonly stream: EngineStream, readonly habits: Habits) {
    this.waiting = habits.buffers !== "no";
  }

  received(bytes: Uint8Array): void {
    const half = this.habits.bytesPerCall / 2, before = this.#receivedBytes;
    this.#receivedBytes += bytes.length;
    if (before >= half || this.#receivedBytes < half) return;
    if (this.habits.ending === "reset by the handler") this.stream.reset(CANCEL);
    if (this.habits.ending === "ended early by the handler") this.#respond();
  }

  remoteEnded(): void {
    if (!this.#over && this.habits.ending === "END_STREAM") this.#respond();
  }

  closed(): void {
    this.#over = true;
  }

  /** A turn is over. */
  step(): void {
    if (this.#over || this.habits.buffers !== "a turn") return;
    this.stream.consumed();
  }

  #respond(): void {
    this.stream.respond([[":status", "200"]], false);
    this.stream.end([["grpc-status", "0"]]);
  }
}

/** See the module; a case is the work of a thousand others. */
export const creditFuzz: FuzzTarget = { name: "HTTP/2 credit", casesPerMillion: 1000, run: fuzzCredit };
