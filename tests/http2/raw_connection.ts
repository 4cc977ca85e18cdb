/**
 * HTTP/2 by hand: frames that no library would send, or not together.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

import type { TestTarget } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import {
  CLIENT_PREFACE,
  END_HEADERS,
  FRAME_HEADER_BYTES,
  HEADERS,
  SETTINGS,
} from "../support/http2_numbers.ts";

/** The client's preface and empty SETTINGS, with which a connection begins. */
export const preface = new Uint8Array([
  ...CLIENT_PREFACE,
  ...frame(SETTINGS, 0, 0),
]);

/** HEADERS of a call; literals without indexing, after `:method POST` and `:scheme http`. */
export function requestHeaders(stream: number, path: string, more: Record<string, string> = {}): Uint8Array {
  return frame(HEADERS, END_HEADERS, stream, headerBlock(path, more));
}

/** What {@linkcode requestHeaders} carries. */
export function headerBlock(path: string, more: Record<string, string> = {}): number[] {
  const headers = {
    ":path": path,
    ":authority": "localhost",
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  };
  const literals = Object.entries(headers).map(([name, value]) => [0, ...text(name), ...text(value)]);
  return [0x83, 0x86, ...literals.flat()];
}

/** A string of less than 16 kB as HPACK has it. */
function text(value: string): number[] {
  const over = value.length - 127;
  const length = over < 0 ? [value.length] : over < 128 ? [127, over] : [127, over & 127 | 128, over >> 7];
  return [...length, ...Buffer.from(value)];
}

/** A number as frames have it. */
export function uint32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
}

/** A frame that came. */
export interface ReceivedFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** The frames that `bytes` begin with, and what is left. */
export function framesOf(bytes: Buffer): { frames: ReceivedFrame[]; rest: Buffer } {
  const frames: ReceivedFrame[] = [];
  for (
    let length;
    bytes.length >= FRAME_HEADER_BYTES &&
    bytes.length >= FRAME_HEADER_BYTES + (length = bytes.readUIntBE(0, 3));
  ) {
    const payload = new Uint8Array(bytes.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length));
    frames.push({ type: bytes[3]!, flags: bytes[4]!, stream: bytes.readUInt32BE(5), payload });
    bytes = bytes.subarray(FRAME_HEADER_BYTES + length);
  }
  return { frames, rest: bytes };
}

/** One connection, on which nothing is sent but what a test sends. */
export class RawConnection implements Disposable {
  /** What came, in order. */
  readonly received: ReceivedFrame[] = [];
  /** Resolves when the connection is over. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  /** The beginning of a frame whose rest is still to come. */
  #partial: Buffer = Buffer.alloc(0);

  /** Connects; what is sent before that waits. */
  constructor(target: TestTarget) {
    this.#socket = typeof target === "number"
      ? connect({ port: target, host: "127.0.0.1", noDelay: true })
      : connectTls({
        ...target.tls,
        port: target.port,
        host: "127.0.0.1",
        servername: "localhost",
        ALPNProtocols: ["h2"],
      });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => {});
    this.closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  /** Sends bytes; resolves when they left and others had a turn, so that what follows is another chunk. */
  async send(...parts: Uint8Array[]): Promise<void> {
    return await this.sendAll(parts);
  }

  /** The same for many parts. */
  async sendAll(parts: readonly Uint8Array[]): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.write(Buffer.concat(parts), () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** What came of a type, on a stream if it is named. */
  all(type: number, stream?: number): ReceivedFrame[] {
    return this.received.filter((frame) => frame.type === type && (stream ?? frame.stream) === frame.stream);
  }

  /** Reads no more, or again. */
  read(on: boolean): void {
    if (on) this.#socket.resume();
    else this.#socket.pause();
  }

  /** Half-closes the socket. */
  finish(): void {
    this.#socket.end();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    const { frames, rest } = framesOf(Buffer.concat([this.#partial, chunk]));
    this.received.push(...frames);
    this.#partial = rest;
  }
}
