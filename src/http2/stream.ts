/**
 * One HTTP/2 stream that a handler in this process serves: what the peer sends goes to a reader, what is
 * answered waits until the peer's windows have room for it.
 *
 * @module
 */
import { ReceiveWindow } from "./flow_control.ts";
import { DATA, frame, MAX_FRAME_BYTES, MAX_WINDOW_BYTES, NO_ERROR, PROTOCOL_ERROR } from "./frames.ts";
import type { HeaderField } from "./hpack/tables.ts";
import type { ConnectionLimits } from "./limits.ts";
import { END_STREAM } from "../../tests/http2/raw_connection.ts";

/** What a stream needs of its connection. */
export interface StreamHost {
  /** Bounds of the connection. */
  readonly limits: ConnectionLimits;
  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE: part of every stream's send window. */
  readonly initialSendWindowBytes: number;
  /** Bytes of DATA that the connection's send window and its socket have room for. */
  readonly sendRoomBytes: number;
  /** Sends a DATA frame of `bytes` bytes. */
  sendData(frame: Uint8Array, bytes: number): void;
  /** Sends a header block. */
  sendHeaders(streamId: number, fields: Iterable<HeaderField>, endStream: boolean): void;
  /** Something cost work units above the reading of its frame; see {@linkcode ConnectionLimits.workPerTurn}. */
  spendWork(units: number): void;
  /** Pumps `stream` when the connection has room. */
  waitForSendRoom(stream: Http2Stream): void;
  /**
   * `bytes` of DATA were consumed, of `stream` if it is open: the peer may send as many more; on the connection as a
   * whole, `connectionBytes` more.
   */
  returnCredit(stream: Http2Stream | undefined, bytes: number, connectionBytes?: number): void;
  /** Sends RST_STREAM, closes and forgets the stream. `provoked`: for what the peer sent. */
  resetStream(streamId: number, code: number, provoked: boolean): void;
  /** Both sides ended the stream: forgets it. */
  streamEnded(streamId: number): void;
}

/** Consumer of a stream's data. */
export interface StreamReader {
  /** Receives `bytes[start, end)`, which do not change any more. */
  read(bytes: Uint8Array, start: number, end: number): void;
  /** What was received is buffered, not yet consumed; {@linkcode Http2Stream.resume} is called when it is. */
  readonly waiting: boolean;
  /** While it waits, the connection's window stays open for other streams, one of which it may be waiting for. */
  readonly sharesConnection?: boolean;
  /** The peer half-closed. */
  end(): void;
  /** The stream is over, well or badly; nothing more comes, and nothing can be answered. */
  close(): void;
  /**
   * Called every {@linkcode ConnectionLimits.keepaliveTickMs}: an incomplete message must have got `minProgressBytes`
   * since the last call.
   */
  tick(minProgressBytes: number): void;
}

const noBytes = new Uint8Array(0);

/** A stream. */
export class Http2Stream {
  /** Set by the stream's handler; without one, data is discarded. */
  reader: StreamReader | undefined;
  /** What the peer may send. */
  readonly window: ReceiveWindow;
  /** The peer's window for this stream, without SETTINGS_INITIAL_WINDOW_SIZE, bytes. */
  sendWindowDelta = 0;
  #headersSent = false;
  #closed = false;
  #remoteEnded = false;
  /** Bytes of DATA that were announced by content-length and did not come yet. */
  #missingBytes: number | undefined;
  /** Bytes that the reader buffers: all, and those for which the connection's window has no credit yet. */
  #bufferedBytes = 0;
  #heldBytes = 0;
  /** Messages that wait for room, and the trailers after them. */
  #unsent: Uint8Array[] = [];
  #trailers: readonly HeaderField[] | undefined;
  #whenWritable: (() => void) | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;

  /** `contentLength`: bytes of DATA that will come, if that is known. */
  constructor(readonly host: StreamHost, readonly id: number, contentLength: number | undefined) {
    this.window = new ReceiveWindow(host.limits.streamWindowBytes);
    this.#missingBytes = contentLength;
  }

  /** Nothing can be answered any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The peer half-closed: it may send no more DATA or HEADERS. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Whether {@linkcode sendHeaders} was called. */
  get headersSent(): boolean {
    return this.#headersSent;
  }

  /** Sends the response headers; `endStream`: and nothing else. */
  sendHeaders(fields: Iterable<HeaderField>, endStream = false): void {
    if (this.#closed) return;
    this.#headersSent = true;
    this.host.sendHeaders(this.id, fields, endStream);
    if (endStream) this.#localEnd();
  }

  /** Sends a message. False: it waits for room; `whenWritable` is called when there is some. */
  write(message: Uint8Array, whenWritable: () => void): boolean {
    if (this.#closed) return true;
    this.#unsent.push(message);
    this.pump();
    if (this.#unsent.length === 0) return true;
    this.#whenWritable = whenWritable;
    return false;
  }

  /** Ends the response, after all that was written; without trailers, by an empty DATA frame. */
  end(trailers: readonly HeaderField[]): void {
    this.#trailers = trailers;
    this.pump();
  }

  /** Ends the stream both ways. `provoked`: for what the peer sent on it. */
  reset(code: number, provoked = true): void {
    if (!this.#closed) this.host.resetStream(this.id, code, provoked);
  }

  /** The reader has consumed what it buffered. */
  resume(): void {
    const buffered = this.#bufferedBytes, held = this.#heldBytes;
    this.#bufferedBytes = this.#heldBytes = 0;
    this.host.returnCredit(this, buffered, held);
  }

  /** The peer raised the stream's window; false: above the maximum. */
  increaseSendWindow(bytes: number): boolean {
    this.sendWindowDelta += bytes;
    if (this.host.initialSendWindowBytes + this.sendWindowDelta > MAX_WINDOW_BYTES) return false;
    if (this.#unsent.length > 0) this.pump();
    return true;
  }

  /** Sends what waits, as far as there is room. */
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

  /** The peer sent `bytes[start, end)`. */
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

  /** The peer half-closes. */
  remoteEnd(): void {
    // As many bytes as were announced, or the request is malformed (RFC 9113, 8.1.1).
    if ((this.#missingBytes ?? 0) !== 0) return this.reset(PROTOCOL_ERROR);
    this.#remoteEnded = true;
    if (this.#localEnded) this.host.streamEnded(this.id);
    else this.reader?.end();
  }

  /** The stream is over: reset, ended by both sides, or its connection closed. The connection alone calls this. */
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
   * What the peer still sends is discarded. Most half-close on receiving trailers; the others are sent RST_STREAM with
   * NO_ERROR (RFC 9113, 8.1), which must not overtake the trailers.
   */
  #localEnd(): void {
    if (this.#remoteEnded) return this.host.streamEnded(this.id);
    this.#graceTimer = setTimeout(() => this.reset(NO_ERROR, false), this.host.limits.earlyEndGraceMs);
  }
}
