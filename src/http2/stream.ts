/**
 * One HTTP/2 stream of a device: what it sends goes to a reader, what is answered waits until the device
 * has room for it.
 *
 * @module
 */
import { encodeHeaders, type HeaderField } from "./hpack.ts";
import type { Http2Connection } from "./connection.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  HEADERS,
  MAX_FRAME_BYTES,
  mustBeWindow,
  NO_ERROR,
  numbersFrame,
  PROTOCOL_ERROR,
  ReceiveWindow,
  RST_STREAM,
} from "./frames.ts";

/**
 * Bytes that may be under way on a stream from its first WINDOW_UPDATE on, which only a busy one gets. Of 16
 * streams with 16 frames per write, and with filled frames, one worker takes 1.5 and 2.3 M packets/s with
 * 64 KiB, 1.9 and 2.9 M with 256 KiB, 1.9 and 3.3 M with 1 MiB; but this much is kept of each stream that waits.
 */
const STREAM_WINDOW_BYTES = 1 << 18;

/** How long a device may take to close its side of a call that ended early. */
const EARLY_END_GRACE_MS = 100;

/** Who reads what comes by a stream. */
export interface StreamReader {
  /** Takes `bytes[start, end)`, which do not change any more. */
  read(bytes: Uint8Array, start: number, end: number): void;
  /** What was taken is not read yet; {@linkcode Http2Stream.resume} is to be called when it is. */
  readonly waiting: boolean;
  /** The device sends no more. */
  end(): void;
  /** The stream is over, well or badly; nothing more comes, and nothing can be answered. */
  close(): void;
}

/** A stream. */
export class Http2Stream {
  /** Set by who takes the stream; without one, what comes is of no use. */
  reader: StreamReader | undefined;
  /** What the device may send. */
  readonly window: ReceiveWindow = new ReceiveWindow(STREAM_WINDOW_BYTES);
  /** Bytes that may be sent to the device. */
  #sendWindowBytes: number;
  #headersSent = false;
  #closed = false;
  /** The device has ended its side. */
  #remoteEnded = false;
  /** Bytes of DATA that were announced by content-length and did not come yet. */
  #missingBytes: number | undefined;
  /** Bytes that the reader has taken and not read. */
  #waitingBytes = 0;
  /** Messages that wait for room, and the trailers behind them. */
  #unsent: Uint8Array[] = [];
  #trailers: readonly HeaderField[] | undefined;
  #whenWritable: (() => void) | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;

  /** `contentLength`: bytes of DATA that will come, if that is known. */
  constructor(
    readonly connection: Http2Connection,
    readonly id: number,
    contentLength: number | undefined,
  ) {
    this.#sendWindowBytes = connection.initialSendWindowBytes;
    this.#missingBytes = contentLength;
  }

  /** Nothing can be answered any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether {@linkcode sendHeaders} was called. */
  get headersSent(): boolean {
    return this.#headersSent;
  }

  /** Sends what the answer begins with; `endStream`: and ends with. */
  sendHeaders(fields: Iterable<HeaderField>, endStream = false): void {
    if (this.#closed) return;
    this.#headersSent = true;
    this.#sendBlock(fields, endStream);
    if (endStream) this.#ended();
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

  /** Ends the answer, behind all that was written. */
  end(trailers: readonly HeaderField[]): void {
    this.#trailers = trailers;
    this.pump();
  }

  /** Ends the stream both ways. */
  reset(code: number): void {
    if (this.#closed) return;
    this.connection.send(numbersFrame(RST_STREAM, this.id, code));
    this.close();
  }

  /** The reader has read what had to wait. */
  resume(): void {
    const bytes = this.#waitingBytes;
    this.#waitingBytes = 0;
    this.connection.opened(this, bytes);
  }

  /** The device has room for `bytes` more; for less, when negative. */
  widen(bytes: number): void {
    this.#sendWindowBytes += bytes;
    mustBeWindow(this.#sendWindowBytes);
    this.pump();
  }

  /** Sends what waits, as far as there is room. */
  pump(): void {
    const { connection } = this;
    for (let first; (first = this.#unsent[0]) !== undefined;) {
      const room = Math.min(this.#sendWindowBytes, connection.sendRoomBytes, MAX_FRAME_BYTES);
      if (room <= 0 || this.#closed) return;
      const part = first.subarray(0, room);
      connection.sendData(frame(DATA, 0, this.id, part), part.length);
      this.#sendWindowBytes -= part.length;
      if (part.length === first.length) this.#unsent.shift();
      else this.#unsent[0] = first.subarray(part.length);
    }
    if (this.#trailers !== undefined && !this.#closed) {
      this.#sendBlock(this.#trailers, true);
      this.#trailers = undefined;
      return this.#ended();
    }
    const whenWritable = this.#whenWritable;
    this.#whenWritable = undefined;
    whenWritable?.();
  }

  /** The device sent `bytes[start, end)`. */
  take(bytes: Uint8Array, start: number, end: number): void {
    const { reader } = this, length = end - start;
    if (this.#missingBytes !== undefined) this.#missingBytes -= length;
    if (!this.#closed) reader?.read(bytes, start, end);
    if (!this.#closed && reader?.waiting) this.#waitingBytes += length;
    else this.connection.opened(this, length);
  }

  /** The device said that it sends no more. */
  remoteEnd(): void {
    if (this.#remoteEnded) return;
    // As many bytes as were announced, or the message was cut (RFC 9113, 8.1.1).
    if ((this.#missingBytes ?? 0) !== 0) return this.reset(PROTOCOL_ERROR);
    this.#remoteEnded = true;
    if (this.#localEnded) this.close();
    else this.reader?.end();
  }

  /** The stream is over. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#graceTimer);
    this.connection.forget(this);
    this.#unsent = [];
    this.#whenWritable = undefined;
    this.reader?.close();
    this.resume();
  }

  get #localEnded(): boolean {
    return this.#graceTimer !== undefined;
  }

  /**
   * What the device still sends is of no use. Most close their side at the sight of trailers; the others are
   * told by RST_STREAM with NO_ERROR (RFC 9113, 8.1), which must not overtake the trailers.
   */
  #ended(): void {
    if (this.#remoteEnded) return this.close();
    this.#graceTimer = setTimeout(() => this.reset(NO_ERROR), EARLY_END_GRACE_MS);
  }

  #sendBlock(fields: Iterable<HeaderField>, endStream: boolean): void {
    const flags = END_HEADERS | (endStream ? END_STREAM : 0);
    this.connection.send(frame(HEADERS, flags, this.id, encodeHeaders(fields)));
  }
}
