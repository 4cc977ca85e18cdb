/**
 * One open HTTP/2 stream: passes received data to its reader, and sends messages as the peer's windows have room.
 *
 * @module
 */
import { ReceiveWindow } from "./flow_control.ts";
import {
  DATA,
  END_STREAM,
  frame,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  NO_ERROR,
  PROTOCOL_ERROR,
} from "./frames.ts";
import type { HeaderField } from "./hpack/tables.ts";
import type { ConnectionLimits } from "./limits.ts";

/** The part of a connection that its streams use. */
export interface StreamHost {
  /** Limits of the connection. */
  readonly limits: ConnectionLimits;
  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE: part of every stream's send window. */
  readonly initialSendWindowBytes: number;
  /** Room in the connection's send window and its socket, bytes of DATA. */
  readonly sendRoomBytes: number;
  /** Sends a DATA frame with `bytes` of data. */
  sendData(frame: Uint8Array, bytes: number): void;
  /** Sends a header block. */
  sendHeaders(streamId: number, fields: Iterable<HeaderField>, endStream: boolean): void;
  /** Charges work units beyond those of reading a frame; bounded by {@linkcode ConnectionLimits.workPerTurn}. */
  spendWork(units: number): void;
  /** Calls {@linkcode Http2Stream.pump} of `stream` when the connection has room again. */
  waitForSendRoom(stream: Http2Stream): void;
  /**
   * Returns credit for consumed DATA: `bytes` to the window of `stream`, if it is open, and `connectionBytes` (default:
   * as many) to the window of the connection.
   */
  returnCredit(stream: Http2Stream | undefined, bytes: number, connectionBytes?: number): void;
  /** Sends RST_STREAM, closes and removes the stream. `provoked`: because of frames that the peer sent. */
  resetStream(streamId: number, code: number, provoked: boolean): void;
  /** Both sides ended the stream: removes it. */
  streamEnded(streamId: number): void;
}

/** Consumer of a stream's data. */
export interface StreamReader {
  /** Receives `bytes[start, end)`, which are not overwritten later. */
  read(bytes: Uint8Array, start: number, end: number): void;
  /** Whether received data is buffered, not yet consumed; once it is consumed, the reader calls {@linkcode Http2Stream.resume}. */
  readonly waiting: boolean;
  /** Return the connection's credit while data is buffered: the reader may be waiting for another stream of it. */
  readonly sharesConnection?: boolean;
  /** The peer half-closed. */
  end(): void;
  /** The stream was closed, completely or by an error: no more data is received, and none can be sent. */
  close(): void;
  /**
   * Called every {@linkcode ConnectionLimits.keepaliveTickMs}: the reader resets the stream when an incomplete message got
   * fewer than `minProgressBytes` since the last call.
   */
  tick(minProgressBytes: number): void;
}

const noBytes = new Uint8Array(0);

/** An open stream of a connection. */
export class Http2Stream {
  /** Set by the stream's handler; without one, data is discarded. */
  reader: StreamReader | undefined;
  /** Receive window of the stream. */
  readonly window: ReceiveWindow;
  /** Send window of the stream less SETTINGS_INITIAL_WINDOW_SIZE, bytes: a change of that setting needs no visit of each. */
  sendWindowDelta = 0;
  #headersSent = false;
  #closed = false;
  #remoteEnded = false;
  /** Bytes of DATA announced by content-length that were not received yet. */
  #missingBytes: number | undefined;
  /** Buffered by the reader, not yet consumed. */
  #bufferedBytes = 0;
  /** The part of these that was not returned as credit to the connection's window. */
  #heldBytes = 0;
  /** Messages that wait for room, and the trailers to send after them. */
  #unsent: Uint8Array[] = [];
  #trailers: readonly HeaderField[] | undefined;
  #whenWritable: (() => void) | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;

  /** `contentLength`: bytes of DATA that the request announced, if it did. */
  constructor(readonly host: StreamHost, readonly id: number, contentLength: number | undefined) {
    this.window = new ReceiveWindow(host.limits.streamWindowBytes);
    this.#missingBytes = contentLength;
  }

  /** Whether the stream was closed: nothing can be sent on it. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the peer half-closed: it may send no more DATA or HEADERS. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Whether {@linkcode sendHeaders} was called. */
  get headersSent(): boolean {
    return this.#headersSent;
  }

  /** Sends the response headers; with `endStream` they are the whole response. */
  sendHeaders(fields: Iterable<HeaderField>, endStream = false): void {
    if (this.#closed) return;
    this.#headersSent = true;
    this.host.sendHeaders(this.id, fields, endStream);
    if (endStream) this.#localEnd();
  }

  /** Sends a message. False: it waits for room, and `whenWritable` is called once all messages were sent. */
  write(message: Uint8Array, whenWritable: () => void): boolean {
    if (this.#closed) return true;
    this.#unsent.push(message);
    this.pump();
    if (this.#unsent.length === 0) return true;
    this.#whenWritable = whenWritable;
    return false;
  }

  /** Ends the response after the messages written, with trailers; without any, with an empty DATA frame. */
  end(trailers: readonly HeaderField[]): void {
    this.#trailers = trailers;
    this.pump();
  }

  /** Sends RST_STREAM and closes the stream. `provoked`: because of frames that the peer sent on it. */
  reset(code: number, provoked = true): void {
    if (!this.#closed) this.host.resetStream(this.id, code, provoked);
  }

  /** The reader consumed all that it buffered: returns the credit for it. */
  resume(): void {
    const buffered = this.#bufferedBytes, held = this.#heldBytes;
    this.#bufferedBytes = this.#heldBytes = 0;
    this.host.returnCredit(this, buffered, held);
  }

  /** WINDOW_UPDATE of the stream; false: its window is above the maximum. */
  increaseSendWindow(bytes: number): boolean {
    this.sendWindowDelta += bytes;
    if (this.host.initialSendWindowBytes + this.sendWindowDelta > MAX_WINDOW_BYTES) return false;
    if (this.#unsent.length > 0) this.pump();
    return true;
  }

  /** Sends waiting messages, then the trailers, as far as there is room. */
  pump(): void {
    const { host } = this;
    for (let first; (first = this.#unsent[0]) !== undefined;) {
      if (this.#closed) return;
      const window = host.initialSendWindowBytes + this.sendWindowDelta;
      const room = Math.min(window, host.sendRoomBytes, MAX_FRAME_BYTES);
      if (room <= 0) return host.waitForSendRoom(this);
      const part = first.subarray(0, room);
      host.sendData(frame(DATA, 0, this.id, part), part.length);
      this.sendWindowDelta -= part.length;
      if (part.length === first.length) this.#unsent.shift();
      else this.#unsent[0] = first.subarray(part.length);
    }
    if (this.#trailers !== undefined && !this.#closed) {
      if (this.#trailers.length > 0) host.sendHeaders(this.id, this.#trailers, true);
      else host.sendData(frame(DATA, END_STREAM, this.id, noBytes), 0);
      this.#trailers = undefined;
      return this.#localEnd();
    }
    const whenWritable = this.#whenWritable;
    this.#whenWritable = undefined;
    whenWritable?.();
  }

  /** DATA of the peer, `bytes[start, end)`; one that exceeds content-length resets the stream. */
  receive(bytes: Uint8Array, start: number, end: number): void {
    const { reader } = this, length = end - start;
    if (this.#missingBytes !== undefined && (this.#missingBytes -= length) < 0) {
      this.host.returnCredit(this, length);
      return this.reset(PROTOCOL_ERROR);
    }
    if (!this.#closed) reader?.read(bytes, start, end);
    if (this.#closed || !reader?.waiting) return this.host.returnCredit(this, length);
    this.#bufferedBytes += length;
    if (reader.sharesConnection) this.host.returnCredit(undefined, length);
    else this.#heldBytes += length;
  }

  /** END_STREAM of the peer. */
  remoteEnd(): void {
    // A request with less DATA than its content-length is malformed (RFC 9113, 8.1.1).
    if ((this.#missingBytes ?? 0) !== 0) return this.reset(PROTOCOL_ERROR);
    this.#remoteEnded = true;
    if (this.#localEnded) this.host.streamEnded(this.id);
    else this.reader?.end();
  }

  /** Called by the connection alone, when the stream was reset or ended by both sides, or the connection was closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#graceTimer);
    this.#unsent = [];
    this.#whenWritable = undefined;
    this.reader?.close();
    this.resume();
  }

  get #localEnded(): boolean {
    return this.#graceTimer !== undefined;
  }

  /**
   * The response is complete; further data of the peer is discarded. Most peers half-close on receiving trailers. To the
   * others RST_STREAM with NO_ERROR is sent (RFC 9113, 8.1), after a while, so that it does not overtake the trailers.
   */
  #localEnd(): void {
    if (this.#remoteEnded) return this.host.streamEnded(this.id);
    this.#graceTimer = setTimeout(() => this.reset(NO_ERROR, false), this.host.limits.earlyEndGraceMs);
  }
}
