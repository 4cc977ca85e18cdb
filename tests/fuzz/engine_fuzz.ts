/**
 * Random frame sequences, fed to the HTTP/2 engine by itself.
 *
 * @module
 */
import { INITIAL_WINDOW_BYTES } from "../support/http2_numbers.ts";
import type { Random } from "../support/random.ts";
import { type Engine, MemorySocket, startEngine } from "./engine.ts";
import { type FrameSequence, frameSequence, NATIVE_PATH, randomChunks } from "./frame_sequences.ts";
import type { FuzzTarget } from "./fuzz_run.ts";
import { GrpcJsStub } from "./grpc_js_stub.ts";
import { NativeCalls } from "./native_calls.ts";
import { ReplyChecker } from "./reply_checker.ts";

/**
 * Replies to `n` bytes are at most twice as many, besides what the connection begins and ends with (SETTINGS,
 * WINDOW_UPDATE, GOAWAY with its text) and what the handlers respond: an empty HEADERS frame is 9 bytes, the
 * RST_STREAM for it 13; PING and SETTINGS get as much as they are.
 */
export const REPLIES_PER_BYTE = 2;
const REPLY_BASE_BYTES = 400;

/** What may be received and not consumed: the window of the connection, and one of a stream it shares. */
const MAX_BUFFERED_BYTES = 2 ** 20 + 2 ** 18;

/** What may wait to be written to a peer that does not read: the bound of the engine's, and one turn's replies. */
export const MAX_UNSENT_BYTES = 2 ** 20 + 2 ** 18;

/** Turns of the event loop in which nothing happens, after which nothing more will; and after which it must have. */
const IDLE_TURNS = 3, MAX_TURNS = 500;

/** A turn of the event loop; one with timers where the engine waits for its turn on `socket`. */
export function turn(socket?: MemorySocket): Promise<void> {
  return new Promise((resolve) => {
    if (socket?.isPaused()) setTimeout(resolve, 1);
    else setImmediate(resolve);
  });
}

/** One connection under test, and what surrounds it. */
class Connection {
  readonly broken: string[] = [];
  readonly replies: ReplyChecker;
  readonly socket: MemorySocket;
  readonly native: NativeCalls;
  readonly bridged: GrpcJsStub[] = [];
  readonly engine: Engine;
  events = 0;

  constructor(readonly random: Random) {
    const onBroken = (what: string) => void this.broken.push(what);
    this.replies = new ReplyChecker(onBroken);
    this.socket = new MemorySocket((bytes) => {
      this.events++;
      this.replies.read(bytes);
    });
    this.native = new NativeCalls(random, onBroken);
    this.engine = startEngine({
      socket: this.socket,
      isNative: (path) => path === NATIVE_PATH,
      opened: (stream) => this.native.opened(stream),
      inject: (duplex) => void this.bridged.push(new GrpcJsStub(random, duplex, onBroken)),
    });
  }

  step(): void {
    this.native.step();
    for (const stub of this.bridged) stub.step();
  }

  /** Until nothing happens any more. */
  async settle(): Promise<void> {
    for (let turns = 0, idle = 0, before = -1; idle < IDLE_TURNS && turns < MAX_TURNS; turns++) {
      this.step();
      await turn(this.socket);
      const isIdle = this.events === before && this.socket.consumed;
      before = this.events;
      idle = isIdle ? idle + 1 : 0;
    }
  }

  /** Replies that the input explains. */
  get allowedReplyBytes(): number {
    const responses = this.native.responseBytes +
      this.bridged.reduce((sum, stub) => sum + stub.responseBytes, 0);
    return REPLY_BASE_BYTES + responses;
  }
}

async function fuzzSequence(random: Random): Promise<void> {
  const input = frameSequence(random), connection = new Connection(random);
  const { socket, engine, replies, broken } = connection;
  const isDisturbed = input.mode !== "valid" && random.chance(0.3);
  for (const chunk of randomChunks(random, input.bytes)) {
    socket.deliver(chunk);
    if (random.chance(0.1)) {
      connection.step();
      await turn();
    }
    if (isDisturbed && random.chance(0.05)) disturb(random, connection);
  }
  await connection.settle();
  socket.unstall();
  await connection.settle();
  if (input.mode === "valid") checkValid(input, connection);
  const replyBytes = replies.bytes;
  if (replyBytes > connection.allowedReplyBytes + REPLIES_PER_BYTE * input.bytes.length) {
    broken.push(`${replyBytes} bytes of replies to ${input.bytes.length}`);
  }
  if (random.chance(0.3)) engine.goAway();
  if (random.chance(0.5)) socket.deliverEnd();
  await turn();
  socket.destroy();
  await turn();
  await turn();
  if (!socket.errored && socket.writableFinished) replies.finish();
  connection.native.checkClosed();
  if (connection.native.mostBufferedBytes > MAX_BUFFERED_BYTES) {
    broken.push(`${connection.native.mostBufferedBytes} bytes were received and not consumed`);
  }
  if (socket.mostUnsentBytes > MAX_UNSENT_BYTES) {
    broken.push(`${socket.mostUnsentBytes} bytes waited to be sent`);
  }
  if (broken.length > 0) throw new Error(`${input.mode} frames: ${[...new Set(broken)].join("; ")}`);
}

/** What may happen to a connection besides its frames. */
function disturb(random: Random, { socket, engine }: Connection): void {
  random.pick([
    () => socket.stalled = true,
    () => socket.unstall(),
    () => engine.keepaliveTick(),
    () => engine.goAway(),
    () => socket.deliverEnd(),
    () => socket.destroy(),
  ])();
}

/** Frames that keep every rule are served: all of them, exactly. */
function checkValid(input: FrameSequence, { broken, replies, native, socket }: Connection): void {
  if ((replies.goaway ?? 0) !== 0) broken.push(`GOAWAY with code ${replies.goaway}`);
  if (socket.destroyed || socket.writableEnded) return void broken.push("the connection was ended");
  if (replies.settingsAcks !== input.settings) {
    broken.push(`${replies.settingsAcks} of ${input.settings} SETTINGS were acknowledged`);
  }
  if (replies.pingAcks !== input.pings) {
    broken.push(`${replies.pingAcks} of ${input.pings} PINGs were answered`);
  }
  for (const [id, bytes] of replies.dataBytes) {
    const window = id === 0 ? INITIAL_WINDOW_BYTES : input.initialWindowBytes;
    const most = window + (input.windowUpdates.get(id) ?? 0);
    if (bytes > most) {
      broken.push(`${bytes} bytes of DATA on stream ${id}, whose window is ${most} at the most`);
    }
  }
  for (const [id, expected] of input.native) {
    const call = native.calls.get(id);
    if (call === undefined) broken.push(`the call of stream ${id} was not served`);
    else if (!call.endedEarly && !sameBytes(call.received_, expected)) {
      broken.push(`stream ${id} received something else than what was sent`);
    }
  }
}

function sameBytes(parts: readonly Uint8Array[], expected: Uint8Array): boolean {
  let at = 0;
  for (const part of parts) {
    for (const byte of part) if (byte !== expected[at++]) return false;
  }
  return at === expected.length;
}

/** See the module. */
export const engineFuzz: FuzzTarget = { name: "HTTP/2 frames", run: fuzzSequence };
