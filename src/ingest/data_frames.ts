/**
 * Takes the DATA frames of telemetry streams off a connection before `node:http2` sees them.
 *
 * `node:http2` makes an object, a copy and several calls of each DATA frame, and most devices send one
 * message per frame: that was most of all the time spent. Here a frame costs the reading of its nine bytes
 * of header. All other frames, and the DATA of other streams, go to `node:http2` as they came, so there is
 * one implementation of the protocol; it is told that a taken stream ended by an empty DATA frame with
 * END_STREAM.
 *
 * Who takes DATA frames has to hold the sender to the flow-control windows (RFC 9113, 5.2) and to open
 * them again: a stream that waits for room in the queue keeps what was sent, at most one window of it, and
 * opens nothing until that was read.
 *
 * @module
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { nextTick } from "node:process";

/** What a device may send ahead on a connection and on a stream before it is told more (RFC 9113, 6.9.2). */
const INITIAL_WINDOW_BYTES = 65_535;

/**
 * Bytes that may be under way on a stream from its first WINDOW_UPDATE on, which only a busy one gets. Of 16
 * streams with 16 frames per write, and with filled frames, one worker takes 1.2 and 1.9 M packets/s with
 * 64 KiB, 1.6 and 2.3 M with 256 KiB; with 1 MiB small frames overflow the socket's buffer and stall.
 */
const STREAM_WINDOW_BYTES = 1 << 18;

/** And on a connection: more than on a stream, lest one that waits for room hold up the others. */
const CONNECTION_WINDOW_BYTES = 1 << 20;

/** SETTINGS_MAX_FRAME_SIZE, which grpc-js leaves as it is; `node:http2` answers whoever exceeds it. */
const MAX_FRAME_BYTES = 16_384;

const PREFACE_BYTES = 24, HEADER_BYTES = 9;

const DATA = 0, HEADERS = 1, WINDOW_UPDATE = 8, CONTINUATION = 9;

const END_STREAM = 1, END_HEADERS = 4, PADDED = 8;

/** Who reads the DATA frames of a stream. */
export interface DataReader {
  /** Takes `bytes[start, end)`, which do not change any more. */
  read(bytes: Uint8Array, start: number, end: number): void;
  /** What was taken is not read yet; {@linkcode TakenStream.resume} is called when it is. */
  readonly waiting: boolean;
}

/** A flow-control window. */
export interface Window {
  /** Bytes that may be under way: sent, and not known to the sender as read. */
  limitBytes: number;
  /** Bytes read, of which the sender was not told yet. */
  readBytes: number;
}

/** A stream whose DATA frames are taken. */
export class TakenStream {
  /** Of the stream. */
  readonly window: Window = { limitBytes: INITIAL_WINDOW_BYTES, readBytes: 0 };
  /** Bytes that `reader` has taken and not read. */
  waitingBytes = 0;

  /** Of `connection`. */
  constructor(
    readonly id: number,
    readonly http2Stream: ServerHttp2Stream,
    readonly reader: DataReader,
    readonly connection: DataFrames,
  ) {}

  /** The reader has read what had to wait, or will never read it. */
  resume(): void {
    const bytes = this.waitingBytes;
    this.waitingBytes = 0;
    this.connection.opened(this, bytes);
  }
}

const dataFrames = Symbol("DataFrames");

/** The frames of one connection. */
export class DataFrames {
  readonly #streams = new Map<number, TakenStream>();
  readonly #window: Window = { limitBytes: INITIAL_WINDOW_BYTES, readBytes: 0 };

  /** Bytes that are still to come of the frame at hand, or of the preface. */
  #left = PREFACE_BYTES;
  /** Of these, the ones before the padding; only for a frame that is taken. */
  #dataLeft = 0;
  /** Who takes the frame at hand; undefined: `node:http2`. */
  #taker: TakenStream | undefined;
  /** The frame at hand ends a taken stream. */
  #endsStream = false;
  /** The frame at hand ends a block of headers: what follows waits until `node:http2` has shown the stream. */
  #endsHeaders = false;
  #held: Uint8Array[] | undefined;
  /** Beginning of a frame's header. */
  #splitHeader: Uint8Array | undefined;

  #corked = false;

  /** `listener` is how `node:http2` reads `socket`. */
  private constructor(readonly socket: Socket, readonly listener: (chunk: Uint8Array) => void) {}

  /**
   * Steps between `socket` and the HTTP/2 session that was made for it just now. False, and nothing done,
   * where the session does not read by the socket's "data" event, as it does in Deno 2.9.6.
   */
  static watch(socket: Socket): boolean {
    const [listener, ...others] = socket.listeners("data") as ((chunk: Uint8Array) => void)[];
    if (listener === undefined || others.length > 0) return false;
    const frames = new DataFrames(socket, listener);
    socket.off("data", listener);
    socket.on("data", (chunk: Uint8Array) => frames.#read(chunk));
    Object.assign(socket, { [dataFrames]: frames });
    return true;
  }

  /** The frames of the connection that `http2Stream` came by, if they can be taken. */
  static of(http2Stream: ServerHttp2Stream): DataFrames | undefined {
    return (http2Stream.session?.socket as { [dataFrames]?: DataFrames } | undefined)?.[dataFrames];
  }

  /** Gives the DATA frames of `http2Stream` to `reader`; to be called when the stream is shown, not later. */
  take(http2Stream: ServerHttp2Stream, reader: DataReader): TakenStream {
    const stream = new TakenStream(http2Stream.id!, http2Stream, reader, this);
    this.#streams.set(stream.id, stream);
    if (this.#window.limitBytes < CONNECTION_WINDOW_BYTES) {
      this.#tell(0, this.#window, CONNECTION_WINDOW_BYTES);
    }
    http2Stream.once("close", () => {
      this.#streams.delete(stream.id);
      stream.resume();
    });
    return stream;
  }

  /** `bytes` of `stream` were read: the sender may send as many more. */
  opened(stream: TakenStream, bytes: number): void {
    if (this.#streams.has(stream.id)) {
      this.#open(stream.id, stream.window, bytes, STREAM_WINDOW_BYTES);
    }
    this.#open(0, this.#window, bytes, CONNECTION_WINDOW_BYTES);
  }

  #open(streamId: number, window: Window, bytes: number, limitBytes: number): void {
    window.readBytes += bytes;
    if (window.readBytes * 2 >= window.limitBytes) this.#tell(streamId, window, limitBytes);
  }

  /** The sender may have `limitBytes` under way from now on. */
  #tell(streamId: number, window: Window, limitBytes: number): void {
    if (!this.socket.writable) return;
    const update = frame(WINDOW_UPDATE, 0, streamId, 4);
    new DataView(update.buffer).setUint32(HEADER_BYTES, window.readBytes + limitBytes - window.limitBytes);
    this.socket.write(update);
    window.readBytes = 0;
    window.limitBytes = limitBytes;
  }

  #read(chunk: Uint8Array): void {
    if (this.#held !== undefined) {
      this.#held.push(chunk);
      return;
    }
    if (this.#splitHeader !== undefined) {
      chunk = joined(this.#splitHeader, chunk);
      this.#splitHeader = undefined;
    }
    /** `chunk[from, at)` is for `node:http2`. */
    let from = 0, at = 0;
    while (at < chunk.length) {
      if (this.#left === 0) {
        const headerBytes = this.#startFrame(chunk, at);
        if (headerBytes === 0) {
          this.#splitHeader = chunk.slice(at);
          break;
        }
        if (this.#taker !== undefined) {
          if (at > from) this.#deliver(chunk.subarray(from, at));
          from = at + headerBytes;
        }
        at += headerBytes;
      }
      const end = Math.min(chunk.length, at + this.#left);
      if (this.#taker !== undefined) {
        this.#give(this.#taker, chunk, at, end);
        from = end;
      }
      this.#left -= end - at;
      at = end;
      if (this.#left > 0) break;
      if (this.#endsHeaders) {
        this.#endsHeaders = false;
        this.#deliver(chunk.subarray(from, at));
        return this.#hold(chunk.subarray(at));
      }
      if (this.#taker !== undefined) this.#endFrame(this.#taker);
    }
    if (at > from) this.#deliver(chunk.subarray(from, at));
  }

  /** Reads the header at `at` of `chunk`; returns its length, or 0 when it goes on in the next chunk. */
  #startFrame(chunk: Uint8Array, at: number): number {
    if (chunk.length - at < HEADER_BYTES) return 0;
    const length = chunk[at]! << 16 | chunk[at + 1]! << 8 | chunk[at + 2]!;
    const type = chunk[at + 3]!, flags = chunk[at + 4]!;
    if (type === DATA && length <= MAX_FRAME_BYTES && this.#streams.size > 0) {
      const id = (chunk[at + 5]! & 127) << 24 | chunk[at + 6]! << 16 | chunk[at + 7]! << 8 | chunk[at + 8]!;
      const taker = this.#streams.get(id);
      if (taker !== undefined) return this.#startTaking(taker, chunk, at, length, flags);
    }
    this.#taker = undefined;
    this.#endsHeaders = (type === HEADERS || type === CONTINUATION) && (flags & END_HEADERS) !== 0;
    this.#left = length;
    return HEADER_BYTES;
  }

  #startTaking(taker: TakenStream, chunk: Uint8Array, at: number, length: number, flags: number): number {
    let headerBytes = HEADER_BYTES, paddingBytes = 0;
    if ((flags & PADDED) !== 0) {
      if (length === 0) return this.#refuse(taker.http2Stream, constants.NGHTTP2_FRAME_SIZE_ERROR);
      // The byte that says how much padding there is, is read with the header.
      if (chunk.length - at === HEADER_BYTES) return 0;
      paddingBytes = chunk[at + HEADER_BYTES]!;
      headerBytes++;
    }
    const left = length - (headerBytes - HEADER_BYTES);
    const { window, waitingBytes, http2Stream } = taker;
    if (paddingBytes > left) return this.#refuse(http2Stream, constants.NGHTTP2_PROTOCOL_ERROR);
    if (window.readBytes + waitingBytes + length > window.limitBytes) {
      return this.#refuse(http2Stream, constants.NGHTTP2_FLOW_CONTROL_ERROR);
    }
    this.opened(taker, length - (left - paddingBytes));
    this.#taker = taker;
    this.#endsStream = (flags & END_STREAM) !== 0;
    this.#left = left;
    this.#dataLeft = left - paddingBytes;
    return headerBytes;
  }

  /** Ends the connection, as it must after such a frame; nothing that comes by it is read any more. */
  #refuse(http2Stream: ServerHttp2Stream, code: number): number {
    this.#streams.clear();
    this.#taker = undefined;
    this.#left = Infinity;
    http2Stream.session?.destroy(new Error("a DATA frame that HTTP/2 does not allow"), code);
    return HEADER_BYTES;
  }

  #give(taker: TakenStream, chunk: Uint8Array, start: number, end: number): void {
    const dataEnd = Math.min(end, start + this.#dataLeft), bytes = dataEnd - start;
    if (bytes <= 0) return;
    this.#dataLeft -= bytes;
    taker.reader.read(chunk, start, dataEnd);
    if (taker.reader.waiting) taker.waitingBytes += bytes;
    else this.opened(taker, bytes);
  }

  #endFrame(taker: TakenStream): void {
    this.#taker = undefined;
    if (!this.#endsStream) return;
    this.#streams.delete(taker.id);
    this.#deliver(frame(DATA, END_STREAM, taker.id, 0));
  }

  /** What `node:http2` says to a chunk leaves in one write: 10,000 devices come up in 4/5 of the time. */
  #deliver(chunk: Uint8Array): void {
    const first = !this.#corked;
    if (first) this.socket.cork();
    this.#corked = true;
    this.listener(chunk);
    // Behind the tick in which node:http2 shows a new stream, so that what is said to that goes along.
    if (first) {
      nextTick(() => {
        this.#corked = false;
        this.socket.uncork();
      });
    }
  }

  /** `node:http2` shows a stream in the next tick; whether its DATA frames are taken is known then. */
  #hold(rest: Uint8Array): void {
    const held = this.#held = rest.length > 0 ? [rest] : [];
    nextTick(() => {
      this.#held = undefined;
      for (const chunk of held) this.#read(chunk);
    });
  }
}

/** A frame's header, and room for its payload. */
function frame(type: number, flags: number, streamId: number, payloadBytes: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payloadBytes);
  bytes[2] = payloadBytes;
  bytes[3] = type;
  bytes[4] = flags;
  new DataView(bytes.buffer).setUint32(5, streamId);
  return bytes;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}
