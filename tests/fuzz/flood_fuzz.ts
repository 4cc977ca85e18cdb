/**
 * One frame again and again, on a connection in a state of a seed's making: no byte costs more than a bound.
 *
 * @module
 */
import { performance } from "node:perf_hooks";

import { headerBlock, preface, requestHeaders, uint32 } from "../http2/raw_connection.ts";
import { frame, joined } from "../support/http2_frames.ts";
import {
  ACK,
  CANCEL,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  MAX_FRAME_BYTES,
  PADDED,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { type EngineStream, MemorySocket, startEngine, type StreamEvents } from "./engine.ts";
import { MAX_UNSENT_BYTES, REPLIES_PER_BYTE, turn } from "./engine_fuzz.ts";
import { BRIDGED_PATH, NATIVE_PATH } from "./frame_sequences.ts";
import type { FuzzTarget } from "./fuzz_run.ts";
import { GrpcJsStub } from "./grpc_js_stub.ts";

/** Bytes of a flood, and of the chunks it comes in: as the system gives them. */
const FLOOD_BYTES = 256 * 1024, CHUNK_BYTES = 64 * 1024;

/**
 * Time per byte received. Honest frames of 44 bytes take some 10 ns per byte and empty frames 100; what walks a
 * thousand streams for each frame takes thousands.
 */
const MAX_NS_PER_BYTE = 500;

/** A measurement above the bound may be another process's doing: the least of as many counts. */
const ATTEMPTS = 5;

/** Turns in which a flood must have been read, or its connection ended. */
const MAX_TURNS = 10_000;

/** The frames of a flood: the `i`th of them, on connections with calls 1, 3, … open. */
type Flood = (i: number, calls: number) => Uint8Array;

/** Numbers of calls that are open before a flood. */
const callCounts = [1, 10, 1000];

const eightBytes = new Uint8Array(8);
const newId = (i: number, calls: number) => 2 * (calls + i) + 1;
const callId = (i: number, calls: number) => 2 * (i % calls) + 1;
const setting = (id: number, value: number) => [0, id, ...uint32(value)];
const request = headerBlock(NATIVE_PATH);

const floods: Readonly<Record<string, Flood>> = {
  "empty SETTINGS": () => frame(SETTINGS, 0, 0),
  "INITIAL_WINDOW_SIZE": (i) =>
    frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, INITIAL_WINDOW_BYTES - i % 2)),
  "many INITIAL_WINDOW_SIZE": (i) =>
    frame(
      SETTINGS,
      0,
      0,
      Array.from({ length: 2700 }, (_, j) => setting(INITIAL_WINDOW_SIZE, INITIAL_WINDOW_BYTES - (i + j) % 2))
        .flat(),
    ),
  "SETTINGS acks": () => frame(SETTINGS, ACK, 0),
  "PING": () => frame(PING, 0, 0, eightBytes),
  "PING acks": () => frame(PING, ACK, 0, eightBytes),
  "WINDOW_UPDATE of the connection": () => frame(WINDOW_UPDATE, 0, 0, uint32(1)),
  "WINDOW_UPDATE of calls": (i, calls) => frame(WINDOW_UPDATE, 0, callId(i, calls), uint32(1)),
  "PRIORITY": (i, calls) => frame(PRIORITY, 0, callId(i, calls), [...uint32(0), 1]),
  "RST_STREAM of closed streams": () => frame(RST_STREAM, 0, 1, uint32(CANCEL)),
  "empty DATA": (i, calls) => frame(DATA, 0, callId(i, calls)),
  "DATA of one byte": (i, calls) => frame(DATA, 0, callId(i, calls), [1]),
  "DATA of padding": (i, calls) => frame(DATA, PADDED, callId(i, calls), [0]),
  "DATA of closed streams": (i) => frame(DATA, 0, 1, [i & 255]),
  "DATA in full frames": (i, calls) => frame(DATA, 0, callId(i, calls), new Uint8Array(MAX_FRAME_BYTES)),
  "unknown frames": () => frame(0xee, 0, 0),
  "empty CONTINUATION": (i, calls) =>
    i === 0 ? frame(HEADERS, 0, newId(0, calls), request) : frame(CONTINUATION, 0, newId(0, calls)),
  "CONTINUATION of one byte": (i, calls) =>
    i === 0 ? frame(HEADERS, 0, newId(0, calls), request) : frame(CONTINUATION, 0, newId(0, calls), [0x82]),
  "CONTINUATION without end": (i, calls) =>
    frame(i === 0 ? HEADERS : CONTINUATION, 0, newId(0, calls), new Uint8Array(16_000).fill(0x82)),
  "trailers": (i, calls) => frame(HEADERS, END_HEADERS | END_STREAM, callId(i, calls), [0x82]),
  "calls": (i, calls) => requestHeaders(newId(i, calls), NATIVE_PATH),
  "calls that are bridged": (i, calls) => requestHeaders(newId(i, calls), BRIDGED_PATH),
  "calls that are reset": (i, calls) =>
    joined(
      requestHeaders(newId(i, calls), NATIVE_PATH),
      frame(RST_STREAM, 0, newId(i, calls), uint32(CANCEL)),
    ),
  "calls without a header": (i, calls) => frame(HEADERS, END_HEADERS, newId(i, calls)),
  "fields of one byte": (i, calls) =>
    frame(HEADERS, END_HEADERS | END_STREAM, newId(i, calls), new Uint8Array(16_000).fill(0x90)),
  "changes of the table's size": (i, calls) =>
    frame(HEADERS, END_HEADERS, newId(i, calls), [0x20, 0x3f, 0xe1, 0x1f, 0x40, 1, 120, 0]),
};

/** Names of the floods; for a message. */
const names = Object.keys(floods);

async function runFlood(random: Random, maxNsPerByte: number): Promise<void> {
  const name = random.pick(names), calls = random.pick(callCounts), waits = random.chance(0.5);
  const bytes = floodBytes(floods[name]!, calls);
  const seed = random.int(0, 2 ** 31);
  let least = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS && least > maxNsPerByte; attempt++) {
    least = Math.min(least, await nsPerByte(bytes, calls, waits, seededRandom(seed)));
  }
  if (least > maxNsPerByte) {
    throw new Error(
      `${name} with ${calls} calls open: ${Math.round(least)} ns per byte, at most ${maxNsPerByte}`,
    );
  }
}

function floodBytes(flood: Flood, calls: number): Uint8Array {
  const frames: Uint8Array[] = [];
  for (let i = 0, length = 0; length < FLOOD_BYTES; i++) {
    length += frames[frames.push(flood(i, calls)) - 1]!.length;
  }
  return joined(...frames);
}

/** Feeds a flood to a fresh connection; resolves to the time it took. */
async function nsPerByte(bytes: Uint8Array, calls: number, waits: boolean, random: Random): Promise<number> {
  let replyBytes = 0;
  const broken: string[] = [], stubs: GrpcJsStub[] = [];
  const socket = new MemorySocket((reply) => replyBytes += reply.length);
  startEngine({
    socket,
    isNative: (path) => path === NATIVE_PATH,
    opened: (stream) => idleCall(stream, waits),
    inject: (duplex) => void stubs.push(new GrpcJsStub(random, duplex, (what) => void broken.push(what))),
  });
  socket.deliver(preface);
  socket.deliver(joined(...Array.from({ length: calls }, (_, i) => requestHeaders(2 * i + 1, NATIVE_PATH))));
  for (let turns = 0; turns < MAX_TURNS && !socket.consumed; turns++) await turn(socket);
  await turn();
  const repliesBefore = replyBytes, startedAtMs = performance.now();
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) socket.deliver(bytes.slice(at, at + CHUNK_BYTES));
  let turns = 0;
  for (; turns < MAX_TURNS && !socket.consumed && !socket.writableEnded; turns++) await turn(socket);
  await turn();
  const ns = 1e6 * (performance.now() - startedAtMs) / bytes.length;
  const replies = replyBytes - repliesBefore;
  socket.destroy();
  await turn();
  if (turns === MAX_TURNS) broken.push(`the flood was not read in ${turns} turns`);
  if (replies > REPLIES_PER_BYTE * bytes.length) {
    broken.push(`${replies} bytes of replies to ${bytes.length}`);
  }
  if (socket.mostUnsentBytes > MAX_UNSENT_BYTES) {
    broken.push(`${socket.mostUnsentBytes} bytes waited to be sent`);
  }
  if (broken.length > 0) throw new Error([...new Set(broken)].join("; "));
  return ns;
}

/** A call whose handler never answers; `waits`: nor consumes anything. */
function idleCall(_stream: EngineStream, waits: boolean): StreamEvents {
  return { waiting: waits, received: () => {}, remoteEnded: () => {}, closed: () => {} };
}

/** See the module; one case in so many is as much work as a thousand of the others. */
export const floodFuzz: FuzzTarget = {
  name: "HTTP/2 floods",
  casesPerMillion: 1000,
  run: (random) => runFlood(random, MAX_NS_PER_BYTE),
};

/** The same without the clock: replies alone are bounded. For tests, which share their machine. */
export const floodRepliesFuzz: FuzzTarget = { ...floodFuzz, run: (random) => runFlood(random, Infinity) };
