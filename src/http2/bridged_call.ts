/**
 * One call that grpc-js serves: what the peer sends goes to grpc-js as its windows allow, what grpc-js sends goes to
 * the peer as the peer's windows allow.
 *
 * @module
 */
import { CANCEL, INITIAL_WINDOW_BYTES, MAX_FRAME_BYTES, NO_ERROR } from "./frames.ts";
import type { HeaderField } from "./hpack/tables.ts";
import { StallDetector } from "./stall_detector.ts";
import type { Http2Stream, StreamReader } from "./stream.ts";
import { WaitingBytes } from "./waiting_bytes.ts";

/** What a call needs of its bridge. */
export interface Bridge {
  /** DATA that grpc-js's window for the connection has room for, bytes. */
  readonly roomBytes: number;
  /** Gives DATA of a call to grpc-js. */
  giveData(streamId: number, data: Uint8Array, endStream: boolean): void;
  /** Gives `call` its turn when grpc-js's window has room again. */
  waitForRoom(call: BridgedCall): void;
  /** grpc-js's DATA of a call has left: it may send as much again. */
  returnCredit(streamId: number, bytes: number): void;
  /** A call is over; grpc-js is sent RST_STREAM with `code`, unless it ended the call itself. */
  forget(call: BridgedCall, code: number | undefined): void;
}

/** How a call ends whose message is refused. */
export interface MessageRefusal {
  /** The whole response, if grpc-js has not begun one. */
  readonly response: readonly HeaderField[];
  /** Otherwise, the error code of RST_STREAM. */
  readonly code: number;
}

/** Bounds the messages of a call before grpc-js buffers or inflates them. */
export interface MessageGuard {
  /** A message of `bytes` bytes begins; a refusal ends the call. */
  begin(compressed: boolean, bytes: number): MessageRefusal | undefined;
  /** The message is complete. */
  complete(): void;
  /** The call is over. */
  close(): void;
}

const noBytes = new Uint8Array(0);
const noFields: readonly HeaderField[] = [];

/** A call. */
export class BridgedCall implements StreamReader {
  /** DATA that grpc-js's window for the call has room for, bytes. */
  #roomBytes: number = INITIAL_WINDOW_BYTES;
  /** DATA that waits for room; bounded by the peer's windows. */
  #waiting = new WaitingBytes();
  /** The peer has half-closed; and grpc-js was sent END_STREAM. */
  #remoteEnded = false;
  #endGiven = false;
  /** grpc-js has ended the call, or it is over. */
  #localEnded = false;
  /** DATA of grpc-js that waits for the peer, bytes. */
  #unsentBytes = 0;
  readonly #envelope = new Envelope();
  readonly #stalls = new StallDetector();

  /** `stream` is the peer's. */
  constructor(readonly stream: Http2Stream, readonly bridge: Bridge, readonly guard: MessageGuard) {}

  /** See {@linkcode StreamReader}. */
  get waiting(): boolean {
    return !this.#waiting.empty;
  }

  /** See {@linkcode StreamReader}. */
  read(bytes: Uint8Array, start: number, end: number): void {
    if (this.#localEnded) return;
    this.#stalls.received(end - start);
    const refused = this.#envelope.read(bytes, start, end, this.guard);
    if (refused !== undefined) return this.#refuse(refused);
    while (start < end && this.#waiting.empty) {
      const room = Math.min(this.#roomBytes, this.bridge.roomBytes, MAX_FRAME_BYTES, end - start);
      if (room <= 0) break;
      this.#give(bytes.subarray(start, start += room), false);
    }
    if (start === end) return;
    this.#waiting.add(bytes.subarray(start, end));
    this.bridge.waitForRoom(this);
  }

  /** See {@linkcode StreamReader}. */
  end(): void {
    this.#remoteEnded = true;
    this.pump();
  }

  /** See {@linkcode StreamReader}. */
  close(): void {
    // Both sides have ended the call, or it is cut off.
    const ended = this.#localEnded && (this.#endGiven || this.stream.remoteEnded);
    if (ended && !this.#endGiven) this.#give(noBytes, true);
    this.#localEnded = this.#endGiven = true;
    this.#waiting = new WaitingBytes();
    this.guard.close();
    this.bridge.forget(this, ended ? undefined : CANCEL);
    this.bridge.returnCredit(this.stream.id, this.#unsentBytes);
    this.#unsentBytes = 0;
  }

  /** See {@linkcode StreamReader}. */
  tick(minProgressBytes: number): void {
    if (this.#localEnded || this.waiting) return;
    if (this.#stalls.tick(this.#envelope.incomplete, minProgressBytes)) this.stream.reset(CANCEL);
  }

  #refuse({ response, code }: MessageRefusal): void {
    if (this.stream.headersSent) return this.stream.reset(code);
    this.#localEnded = true;
    this.stream.sendHeaders(response, true);
    this.bridge.forget(this, CANCEL);
  }

  /** Gives what waits to grpc-js, as far as there is room. */
  pump(): void {
    while (!this.#waiting.empty) {
      const room = Math.min(this.#roomBytes, this.bridge.roomBytes, MAX_FRAME_BYTES);
      if (room <= 0) return this.bridge.waitForRoom(this);
      const data = this.#waiting.first()!.subarray(0, room);
      this.#give(data, false);
      this.#waiting.consumed(data.length);
    }
    this.stream.resume();
    if (this.#remoteEnded && !this.#endGiven && !this.#localEnded) {
      this.#endGiven = true;
      this.#give(noBytes, true);
    }
  }

  /** grpc-js has consumed DATA of the call. */
  increaseWindow(bytes: number): void {
    this.#roomBytes += bytes;
    if (this.waiting) this.pump();
  }

  /** grpc-js sends headers or, after a message, trailers. */
  headers(fields: readonly HeaderField[], endStream: boolean): void {
    if (this.#localEnded) return;
    if (endStream) this.#localEnded = true;
    if (endStream && this.stream.headersSent) this.stream.end(fields);
    else this.stream.sendHeaders(fields, endStream);
  }

  /** grpc-js sends DATA. */
  answer(data: Uint8Array, endStream: boolean): void {
    const { stream, bridge } = this;
    this.#unsentBytes += data.length;
    const sent = () => {
      bridge.returnCredit(stream.id, this.#unsentBytes);
      this.#unsentBytes = 0;
    };
    if (data.length > 0 && stream.write(data, sent)) sent();
    if (!endStream) return;
    this.#localEnded = true;
    stream.end(noFields);
  }

  /** grpc-js resets the call: of its own accord, or for what the peer sent. */
  resetByGrpcJs(code: number): void {
    this.#localEnded = this.#endGiven = true;
    this.stream.reset(code, code !== NO_ERROR && code !== CANCEL);
  }

  #give(data: Uint8Array, endStream: boolean): void {
    this.#roomBytes -= data.length;
    this.bridge.giveData(this.stream.id, data, endStream);
  }
}

/** Bytes before each message: one for "compressed", four for the length, big-endian. */
const PREFIX_BYTES = 5;

/** Follows the messages in a call's DATA. */
class Envelope {
  /** Of the prefix that is being read. */
  #prefixBytes = 0;
  #compressed = false;
  #length = 0;
  /** Bytes of the message that are to come. */
  #left = 0;
  #messages = 0;

  /** The number of the message that has begun and is not complete. */
  get incomplete(): number | undefined {
    return this.#prefixBytes > 0 || this.#left > 0 ? this.#messages : undefined;
  }

  /** Returns the guard's refusal, if there is one. */
  read(bytes: Uint8Array, at: number, end: number, guard: MessageGuard): MessageRefusal | undefined {
    while (at < end) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, end - at);
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.#complete(guard);
        continue;
      }
      const byte = bytes[at++]!;
      if (this.#prefixBytes++ === 0) {
        this.#compressed = byte !== 0;
        this.#length = 0;
      } else this.#length = this.#length * 256 + byte;
      if (this.#prefixBytes < PREFIX_BYTES) continue;
      this.#prefixBytes = 0;
      const refused = guard.begin(this.#compressed, this.#length);
      if (refused !== undefined) return refused;
      this.#left = this.#length;
      if (this.#left === 0) this.#complete(guard);
    }
    return undefined;
  }

  #complete(guard: MessageGuard): void {
    this.#messages++;
    guard.complete();
  }
}
