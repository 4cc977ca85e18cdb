/**
 * One call that grpc-js serves. Requests are forwarded to grpc-js and responses to the peer, each within the receiver's
 * flow-control windows.
 *
 * @module
 */
import { CANCEL, INITIAL_WINDOW_BYTES, MAX_FRAME_BYTES, NO_ERROR } from "./frames.ts";
import type { HeaderField } from "./hpack/tables.ts";
import { StallDetector } from "./stall_detector.ts";
import type { Http2Stream, StreamReader } from "./stream.ts";
import { WaitingBytes } from "./waiting_bytes.ts";

/** The part of the bridge that its calls use. */
export interface Bridge {
  /** Room in grpc-js's window for the connection, bytes of DATA. */
  readonly roomBytes: number;
  /** Sends DATA of a call to grpc-js. */
  sendData(streamId: number, data: Uint8Array, endStream: boolean): void;
  /** Calls {@linkcode BridgedCall.pump} of `call` when grpc-js's window for the connection has room again. */
  waitForRoom(call: BridgedCall): void;
  /** `bytes` of a response were sent to the peer: allows grpc-js to send as many more. */
  returnCredit(streamId: number, bytes: number): void;
  /** The call has ended: removes it. With `code`, RST_STREAM is sent to grpc-js; without, grpc-js ended the call itself. */
  remove(call: BridgedCall, code: number | undefined): void;
}

/** How a call ends when one of its messages is refused. */
export interface MessageRefusal {
  /** The whole response, when no response headers were sent yet. */
  readonly response: readonly HeaderField[];
  /** Otherwise, the error code of RST_STREAM. */
  readonly code: number;
}

/** Limits the messages of a call before grpc-js buffers or inflates them. */
export interface MessageGuard {
  /** A message of `bytes` bytes begins; a returned refusal ends the call. */
  begin(compressed: boolean, bytes: number): MessageRefusal | undefined;
  /** That message is complete. */
  complete(): void;
  /** The call has ended, or was refused: releases what it holds. */
  close(): void;
}

/** Prefix of a gRPC message: one byte for the compressed flag, four for the length, big-endian. */
export const PREFIX_BYTES = 5;

const noBytes = new Uint8Array(0);
const noFields: readonly HeaderField[] = [];

/** A call that grpc-js serves, seen from the peer's stream. */
export class BridgedCall implements StreamReader {
  /** Room in grpc-js's window for the call, bytes of DATA. */
  #roomBytes: number = INITIAL_WINDOW_BYTES;
  /** DATA of the peer that waits for room; bounded by the windows granted to the peer. */
  #waiting = new WaitingBytes();
  /** The peer half-closed. */
  #remoteEnded = false;
  /** END_STREAM was forwarded to grpc-js. */
  #endForwarded = false;
  /** grpc-js ended the response, or the call has ended. */
  #localEnded = false;
  /** DATA of grpc-js for which the peer's window has no room yet, bytes. */
  #unsentBytes = 0;
  readonly #framing = new MessageFraming();
  readonly #stalls = new StallDetector();

  /** `stream`: the peer's side of the call. `guard`: limits its messages. */
  constructor(readonly stream: Http2Stream, readonly bridge: Bridge, readonly guard: MessageGuard) {}

  /** Whether DATA of the peer waits for room in grpc-js's windows. */
  get waiting(): boolean {
    return !this.#waiting.empty;
  }

  /** Forwards `bytes[start, end)` as far as grpc-js's windows have room, and buffers the rest. */
  read(bytes: Uint8Array, start: number, end: number): void {
    if (this.#localEnded) return;
    this.#stalls.received(end - start);
    const refused = this.#framing.read(bytes, start, end, this.guard);
    if (refused !== undefined) return this.#refuse(refused);
    while (start < end && this.#waiting.empty) {
      const room = Math.min(this.#roomBytes, this.bridge.roomBytes, MAX_FRAME_BYTES, end - start);
      if (room <= 0) break;
      this.#forward(bytes.subarray(start, start += room), false);
    }
    if (start === end) return;
    this.#waiting.add(bytes.subarray(start, end));
    this.bridge.waitForRoom(this);
  }

  /** The peer half-closed: END_STREAM is forwarded after what waits. */
  end(): void {
    this.#remoteEnded = true;
    this.pump();
  }

  /** The stream has ended: cancels the call in grpc-js, unless both sides ended it. */
  close(): void {
    const endedByBoth = this.#localEnded && (this.#endForwarded || this.stream.remoteEnded);
    if (endedByBoth && !this.#endForwarded) this.#forward(noBytes, true);
    this.#localEnded = this.#endForwarded = true;
    this.#waiting = new WaitingBytes();
    this.guard.close();
    this.bridge.remove(this, endedByBoth ? undefined : CANCEL);
    this.bridge.returnCredit(this.stream.id, this.#unsentBytes);
    this.#unsentBytes = 0;
  }

  /** Resets the call when an incomplete message got fewer than `minProgressBytes` since the last tick. */
  tick(minProgressBytes: number): void {
    if (this.#localEnded || this.waiting) return;
    if (this.#stalls.tick(this.#framing.incomplete, minProgressBytes)) this.stream.reset(CANCEL);
  }

  #refuse({ response, code }: MessageRefusal): void {
    if (this.stream.headersSent) return this.stream.reset(code);
    this.#localEnded = true;
    this.stream.sendHeaders(response, true);
    this.bridge.remove(this, CANCEL);
  }

  /** Forwards what waits to grpc-js, as far as its windows have room. */
  pump(): void {
    while (!this.#waiting.empty) {
      const room = Math.min(this.#roomBytes, this.bridge.roomBytes, MAX_FRAME_BYTES);
      if (room <= 0) return this.bridge.waitForRoom(this);
      const data = this.#waiting.first()!.subarray(0, room);
      this.#forward(data, false);
      this.#waiting.consumed(data.length);
    }
    this.stream.resume();
    if (this.#remoteEnded && !this.#endForwarded && !this.#localEnded) {
      this.#endForwarded = true;
      this.#forward(noBytes, true);
    }
  }

  /** WINDOW_UPDATE of grpc-js for the call: it consumed `bytes` of DATA. */
  increaseWindow(bytes: number): void {
    this.#roomBytes += bytes;
    if (this.waiting) this.pump();
  }

  /** HEADERS of grpc-js: the response headers or, with `endStream`, trailers (alone in a trailers-only response). */
  responseHeaders(fields: readonly HeaderField[], endStream: boolean): void {
    if (this.#localEnded) return;
    if (endStream) this.#localEnded = true;
    if (endStream && this.stream.headersSent) this.stream.end(fields);
    else this.stream.sendHeaders(fields, endStream);
  }

  /** DATA of grpc-js; the credit for it returns once the peer's windows had room. */
  responseData(data: Uint8Array, endStream: boolean): void {
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

  /** RST_STREAM of grpc-js. NO_ERROR and CANCEL are its own decision; any other code is an error of the peer. */
  resetByGrpcJs(code: number): void {
    this.#localEnded = this.#endForwarded = true;
    this.stream.reset(code, code !== NO_ERROR && code !== CANCEL);
  }

  #forward(data: Uint8Array, endStream: boolean): void {
    this.#roomBytes -= data.length;
    this.bridge.sendData(this.stream.id, data, endStream);
  }
}

/** Finds the length-prefixed messages of gRPC in the DATA of a call. */
class MessageFraming {
  /** Bytes read of an incomplete prefix. */
  #prefixBytes = 0;
  #compressed = false;
  #length = 0;
  /** Bytes of the current message that are still to come. */
  #left = 0;
  #messages = 0;

  /** The number of the message that is incomplete; undefined between messages. */
  get incomplete(): number | undefined {
    return this.#prefixBytes > 0 || this.#left > 0 ? this.#messages : undefined;
  }

  /** Reads `bytes[at, end)`; returns the guard's refusal, if there is one. */
  read(bytes: Uint8Array, at: number, end: number, guard: MessageGuard): MessageRefusal | undefined {
    while (at < end) {
      if (this.#left > 0) {
        const length = Math.min(this.#left, end - at);
        at += length;
        this.#left -= length;
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
