/**
 * The calls of a connection that grpc-js serves: health checks, compressed messages, whatever has no name
 * here.
 *
 * grpc-js is given a connection of its own, which exists in memory only: it is fed the frames of its calls,
 * and what it answers goes to the device between the frames of other calls. What concerns the connection as
 * a whole (SETTINGS, PING, GOAWAY, the connection's windows) is said to the device by
 * {@linkcode Http2Connection} alone, and to grpc-js by this module.
 *
 * The headers it is given are encoded anew, as literals: it need not know what the device put into the table
 * of HPACK for other calls. Those that it sends may go as they are, because nobody else here uses the table.
 *
 * @module
 */
import { Duplex } from "node:stream";

import { encodeHeaders, type HeaderField } from "./hpack.ts";
import type { Http2Connection } from "./connection.ts";
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADER_TABLE_SIZE,
  HEADERS,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  joined,
  NO_ERROR,
  numbersFrame,
  PING,
  PREFACE,
  readPayloadBytes,
  readStreamId,
  readUint32,
  RST_STREAM,
  SETTINGS,
  settingsFrame,
  STREAM_CLOSED,
  WINDOW_UPDATE,
} from "./frames.ts";

/** Gives a connection to grpc-js. */
export type Inject = (socket: Duplex) => void;

/** Who has ended its side of a call. */
const DEVICE = 1, GRPC_JS = 2;

/** Frames, and how much DATA they carry. */
interface Waiting {
  readonly frames: Uint8Array;
  readonly payloadBytes: number;
}

/** Small frames wait in pieces of this size: an object each would take many times what they carry. */
const WAITING_PIECE_BYTES = 4096;

/** grpc-js's end of a connection. */
export class GrpcJsStreams extends Duplex {
  /** The open calls, by stream: who has ended its side. */
  readonly #streams = new Map<number, number>();
  /** Beginning of a frame that grpc-js has not written to its end. */
  #split: Uint8Array | undefined;
  /** DATA that grpc-js was given, and has not said that it read; it allows 65,535 bytes. */
  #unreadBytes = 0;
  /** Frames that wait until it has; bounded by what the device may send ahead on the connection. */
  #waiting: Waiting[] = [];
  /** DATA that grpc-js sent, and does not know to be read. */
  #sentBytes = 0;
  /** Called when the device reads again. */
  #goOn: (() => void) | undefined;

  /** For the calls of `connection`. */
  constructor(readonly connection: Http2Connection) {
    super();
    this.push(PREFACE);
    this.settings();
  }

  /** Address of the device, which grpc-js calls its peer. */
  get remoteAddress(): string | undefined {
    return this.connection.socket.remoteAddress;
  }

  /** Port of the device. */
  get remotePort(): number | undefined {
    return this.connection.socket.remotePort;
  }

  /** Calls that are open. */
  get size(): number {
    return this.#streams.size;
  }

  /** Whether a call that is open here came by the stream. */
  has(streamId: number): boolean {
    return this.#streams.has(streamId);
  }

  /** The device's settings are new. */
  settings(): void {
    const { headerTableBytes, initialSendWindowBytes } = this.connection;
    this.push(
      settingsFrame([[HEADER_TABLE_SIZE, headerTableBytes], [INITIAL_WINDOW_SIZE, initialSendWindowBytes]]),
    );
  }

  /** The headers of a call, or behind its messages. */
  headers(streamId: number, endStream: boolean, fields: Iterable<HeaderField>): void {
    if (!this.has(streamId)) this.#streams.set(streamId, 0);
    const flags = END_HEADERS | (endStream ? END_STREAM : 0);
    this.#give(frame(HEADERS, flags, streamId, encodeHeaders(fields)), 0);
    if (endStream) this.#ended(streamId, DEVICE);
  }

  /** A frame of DATA. */
  data(streamId: number, flags: number, payloadBytes: number, whole: Uint8Array): void {
    if (this.#streams.get(streamId) === DEVICE) {
      throw new Http2Error(STREAM_CLOSED, `DATA behind the end of stream ${streamId}`);
    }
    const ends = (flags & END_STREAM) !== 0;
    if (payloadBytes > 0 || ends) this.#give(whole, payloadBytes);
    if (ends) this.#ended(streamId, DEVICE);
  }

  /** The device takes a call back. */
  reset(streamId: number, whole: Uint8Array): void {
    if (this.#streams.delete(streamId)) this.#give(whole, 0);
  }

  /** The device has more room on a stream. */
  widen(streamId: number, whole: Uint8Array): void {
    if (this.has(streamId)) this.push(whole);
  }

  /** The device has more room on the connection: grpc-js is told of what it used itself. */
  widenConnection(bytes: number): void {
    const own = Math.min(bytes, this.#sentBytes);
    this.#sentBytes -= own;
    if (own > 0) this.push(numbersFrame(WINDOW_UPDATE, 0, own));
  }

  /** The device reads again. */
  goOn(): void {
    const goOn = this.#goOn;
    this.#goOn = undefined;
    goOn?.();
  }

  /** What grpc-js writes. */
  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.#split !== undefined) chunk = joined(this.#split, chunk);
    let at = 0;
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + readPayloadBytes(chunk, at);
      if (chunk.length < end) break;
      this.#takeFrame(chunk.slice(at, end));
      at = end;
    }
    this.#split = at < chunk.length ? chunk.slice(at) : undefined;
    if (this.connection.socket.writableNeedDrain) this.#goOn = done;
    else done();
  }

  /** All is pushed as it comes. */
  override _read(): void {}

  /** grpc-js writes no more: nor is it given more. */
  override _final(done: () => void): void {
    this.push(null);
    done();
  }

  /** grpc-js has ended its connection, or the device is gone. */
  override _destroy(_error: Error | null, done: (error?: Error | null) => void): void {
    this.connection.grpcJsClosed();
    done(null);
  }

  #takeFrame(whole: Uint8Array): void {
    const type = whole[3]!, flags = whole[4]!, streamId = readStreamId(whole, 0);
    const payload = whole.subarray(FRAME_HEADER_BYTES);
    switch (type) {
      case SETTINGS:
        if ((flags & ACK) === 0) this.push(frame(SETTINGS, ACK, 0, new Uint8Array(0)));
        return;
      case PING:
        if ((flags & ACK) === 0) this.push(frame(PING, ACK, 0, payload));
        return;
      case GOAWAY:
        // Of the connection's orderly end, the device knows.
        if (readUint32(payload, 4) !== NO_ERROR) this.connection.send(whole);
        return;
      case WINDOW_UPDATE:
        if (streamId === 0) return this.#read(readUint32(payload, 0));
        break;
      case DATA:
        this.#sentBytes += payload.length;
        this.connection.sendData(whole, payload.length);
        if ((flags & END_STREAM) !== 0) this.#ended(streamId, GRPC_JS);
        return;
      case HEADERS:
        if ((flags & END_STREAM) !== 0) this.#ended(streamId, GRPC_JS);
        break;
      case RST_STREAM:
        this.#streams.delete(streamId);
        break;
    }
    this.connection.send(whole);
  }

  #give(frames: Uint8Array, payloadBytes: number): void {
    if (this.#waiting.length > 0 || this.#unreadBytes + payloadBytes > INITIAL_WINDOW_BYTES) {
      return this.#wait(frames, payloadBytes);
    }
    this.#unreadBytes += payloadBytes;
    this.push(frames);
  }

  #wait(frames: Uint8Array, payloadBytes: number): void {
    const last = this.#waiting.at(-1);
    if (last === undefined || last.frames.length + frames.length > WAITING_PIECE_BYTES) {
      this.#waiting.push({ frames: frames.slice(), payloadBytes });
    } else {
      const both = { frames: joined(last.frames, frames), payloadBytes: last.payloadBytes + payloadBytes };
      this.#waiting[this.#waiting.length - 1] = both;
    }
  }

  /** grpc-js has read `bytes` of DATA. */
  #read(bytes: number): void {
    const read = Math.min(bytes, this.#unreadBytes);
    this.#unreadBytes -= read;
    this.connection.opened(undefined, read);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { frames, payloadBytes } of waiting) this.#give(frames, payloadBytes);
  }

  #ended(streamId: number, side: number): void {
    const ended = (this.#streams.get(streamId) ?? 0) | side;
    if (ended === (DEVICE | GRPC_JS)) this.#streams.delete(streamId);
    else this.#streams.set(streamId, ended);
  }
}
