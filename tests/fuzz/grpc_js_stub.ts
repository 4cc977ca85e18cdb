/**
 * Plays grpc-js: an HTTP/2 server on the connection it is given, that checks what it is given and answers as
 * a seed decides.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";

import { uint32 } from "../http2/raw_connection.ts";
import { frame, FrameReader, headerBlock, windowUpdate } from "../support/http2_frames.ts";
import {
  ACK,
  CLIENT_PREFACE,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import type { Random } from "../support/random.ts";
import { type OnBroken, RESPONSE_OVERHEAD_BYTES } from "./native_calls.ts";

const responseHeaders = headerBlock({ ":status": "200", "content-type": "application/grpc" });
const trailers = headerBlock({ "grpc-status": "0" });

/** One injected connection. */
export class GrpcJsStub {
  /** See `NativeCalls`. */
  responseBytes = 0;
  readonly #frames = new FrameReader();
  /** Calls that this side has not ended. */
  readonly #calls = new Map<number, { ended: boolean; responded: boolean }>();
  #prefaceLeft = CLIENT_PREFACE.length;
  #settled = false;
  #lastId = 0;
  #unreadBytes = 0;

  constructor(readonly random: Random, readonly duplex: Duplex, readonly onBroken: OnBroken) {
    duplex.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    duplex.on("error", () => {});
    this.#send(frame(SETTINGS, 0, 0));
  }

  /** Goes on with what it put off. */
  step(): void {
    const { random } = this;
    if (this.duplex.destroyed) return;
    if (this.#unreadBytes > 0 && random.chance(0.5)) {
      this.#send(windowUpdate(0, this.#unreadBytes));
      this.#unreadBytes = 0;
    }
    for (const [id, call] of this.#calls) {
      const choice = random.int(0, 99);
      if (call.ended || choice < 5) this.#finish(id);
      else if (choice < 10) this.#respond(id);
      else if (choice < 12) {
        this.#calls.delete(id);
        this.#send(frame(RST_STREAM, 0, id, uint32(2)));
      }
    }
    if (random.chance(0.002)) this.#send(frame(GOAWAY, 0, 0, [...uint32(this.#lastId), ...uint32(0)]));
  }

  /** Writes, cut anywhere. */
  #send(bytes: Uint8Array): void {
    if (!this.duplex.writable) return;
    const at = this.random.chance(0.2) ? this.random.int(0, bytes.length) : bytes.length;
    for (const part of [bytes.slice(0, at), bytes.slice(at)]) {
      if (part.length > 0) this.duplex.write(Buffer.from(part));
    }
  }

  #receive(chunk: Uint8Array): void {
    const skipped = Math.min(this.#prefaceLeft, chunk.length),
      done = CLIENT_PREFACE.length - this.#prefaceLeft;
    for (let i = 0; i < skipped; i++) {
      if (chunk[i] !== CLIENT_PREFACE[done + i]) this.onBroken("grpc-js was given no preface");
    }
    this.#prefaceLeft -= skipped;
    if (skipped < chunk.length) {
      this.#frames.read(chunk.subarray(skipped), (...frame) => this.#take(...frame));
    }
  }

  #take(type: number, flags: number, id: number, payload: Uint8Array): void {
    if (!this.#settled && type !== SETTINGS) this.onBroken("grpc-js was given no SETTINGS first");
    switch (type) {
      case SETTINGS:
        this.#settled = true;
        if (payload.length % 6 !== 0) this.onBroken("grpc-js was given SETTINGS of a wrong length");
        if ((flags & ACK) === 0) this.#send(frame(SETTINGS, ACK, 0));
        return;
      case HEADERS:
        return this.#headers(id, flags);
      case DATA: {
        const call = this.#calls.get(id);
        this.#unreadBytes += payload.length;
        if (this.#unreadBytes > INITIAL_WINDOW_BYTES) {
          this.onBroken(`grpc-js was given ${this.#unreadBytes} bytes above its window`);
        }
        if (id > this.#lastId) this.onBroken(`grpc-js was given DATA of stream ${id}, which is idle`);
        if (call?.ended) this.onBroken(`grpc-js was given DATA after END_STREAM on stream ${id}`);
        if ((flags & END_STREAM) !== 0 && call !== undefined) call.ended = true;
        return;
      }
      case RST_STREAM:
        if (id > this.#lastId) this.onBroken(`grpc-js was given a reset of stream ${id}, which is idle`);
        this.#calls.delete(id);
        return;
      case WINDOW_UPDATE:
        if (payload.length !== 4) this.onBroken("grpc-js was given a WINDOW_UPDATE of a wrong length");
        return;
      case PING:
      case PRIORITY:
      case GOAWAY:
        return;
      case CONTINUATION:
        return;
      default:
        this.onBroken(`grpc-js was given a frame of type ${type}`);
    }
  }

  #headers(id: number, flags: number): void {
    const call = this.#calls.get(id), ended = (flags & END_STREAM) !== 0;
    if (call !== undefined) {
      if (call.ended) this.onBroken(`grpc-js was given HEADERS after END_STREAM on stream ${id}`);
      if (!ended) this.onBroken(`grpc-js was given trailers without END_STREAM on stream ${id}`);
      call.ended = true;
    } else if (id > this.#lastId) {
      this.#lastId = id;
      this.#calls.set(id, { ended, responded: false });
    }
  }

  #respond(id: number): void {
    const call = this.#calls.get(id)!;
    if (call.responded) return;
    call.responded = true;
    this.responseBytes += responseHeaders.length + RESPONSE_OVERHEAD_BYTES;
    this.#send(frame(HEADERS, END_HEADERS, id, responseHeaders));
    if (this.random.chance(0.5)) {
      const data = this.random.bytes(20);
      this.responseBytes += data.length + RESPONSE_OVERHEAD_BYTES;
      this.#send(frame(DATA, 0, id, data));
    }
  }

  #finish(id: number): void {
    this.#respond(id);
    this.#calls.delete(id);
    this.responseBytes += trailers.length + RESPONSE_OVERHEAD_BYTES;
    this.#send(frame(HEADERS, END_HEADERS | END_STREAM, id, trailers));
  }
}
