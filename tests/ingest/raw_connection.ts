/**
 * HTTP/2 by hand: frames that no library would send, or not together.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** Frame types and flags of RFC 9113. */
export const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8;
export const END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8;

/** One frame. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: ArrayLike<number> = [],
): Uint8Array {
  const bytes = new Uint8Array(9 + payload.length);
  new DataView(bytes.buffer).setUint32(0, payload.length << 8 | type);
  bytes[4] = flags;
  new DataView(bytes.buffer).setUint32(5, stream);
  bytes.set(payload, 9);
  return bytes;
}

/** What a connection begins with. */
export const preface = new Uint8Array([
  ...new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  ...frame(SETTINGS, 0, 0),
]);

/** HEADERS of a call; literals without indexing, behind `:method POST` and `:scheme http`. */
export function requestHeaders(stream: number, path: string): Uint8Array {
  const literal = (
    name: string,
    value: string,
  ) => [0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)];
  const block = [
    0x83,
    0x86,
    ...literal(":path", path),
    ...literal(":authority", "localhost"),
    ...literal("content-type", "application/grpc"),
    ...literal("te", "trailers"),
  ];
  return frame(HEADERS, END_HEADERS, stream, block);
}

/** A frame that came. */
export interface HeardFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** One connection, on which nothing is said but what a test says. */
export class RawConnection implements Disposable {
  /** What came, in order. */
  readonly heard: HeardFrame[] = [];
  /** Resolves when the connection is over. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #received = Buffer.alloc(0);

  /** Connects; what is sent before that waits. */
  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => {});
    this.closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  /** Sends bytes; resolves when they left and others had a turn, so that what follows is another chunk. */
  async send(...parts: Uint8Array[]): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.write(Buffer.concat(parts), () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Says that no more comes. */
  finish(): void {
    this.#socket.end();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 9) {
      const length = this.#received.readUIntBE(0, 3);
      if (this.#received.length < 9 + length) return;
      const type = this.#received[3]!, flags = this.#received[4]!, stream = this.#received.readUInt32BE(5);
      this.heard.push({
        type,
        flags,
        stream,
        payload: new Uint8Array(this.#received.subarray(9, 9 + length)),
      });
      this.#received = this.#received.subarray(9 + length);
    }
  }
}
