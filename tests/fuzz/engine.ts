/**
 * The HTTP/2 engine by itself: a connection over a socket that exists in memory, and what it needs around it.
 * The only file here that knows the engine's own types.
 *
 * @module
 */
import { Duplex } from "node:stream";

import { Http2Connection } from "../../src/http2/connection.ts";
import type { HeaderField } from "../../src/http2/hpack/tables.ts";
import type { Http2Stream } from "../../src/http2/stream.ts";
import { connectionOptions } from "../http2/connection_options.ts";

/** A call that is served natively, as its handler sees it. */
export interface EngineStream {
  readonly id: number;
  readonly closed: boolean;
  respond(fields: readonly HeaderField[], endStream: boolean): void;
  write(message: Uint8Array): void;
  end(trailers: readonly HeaderField[]): void;
  reset(code: number): void;
  /** What was received while it was waiting is consumed. */
  consumed(): void;
}

/** What happens to such a call. */
export interface StreamEvents {
  received(bytes: Uint8Array): void;
  readonly waiting: boolean;
  remoteEnded(): void;
  closed(): void;
}

/** The engine's surroundings. */
export interface EngineHost {
  readonly socket: MemorySocket;
  /** Whether a call is served natively. */
  isNative(path: string): boolean;
  opened(stream: EngineStream): StreamEvents;
  /** Takes a connection as grpc-js does. */
  inject(duplex: Duplex): void;
}

/** What may be done to a connection from this side. */
export interface Engine {
  keepaliveTick(): void;
  goAway(): void;
}

/** Makes a connection, as the server does for one that it has accepted. */
export function startEngine(host: EngineHost): Engine {
  const { route: bridge } = connectionOptions();
  const options = connectionOptions({
    route: (headers, peer) => {
      const path = headers.find(([name]) => name === ":path")?.[1] ?? "";
      return host.isNative(path) ? { handler: (stream) => attach(stream, host) } : bridge(headers, peer);
    },
    inject: (duplex) => host.inject(duplex),
  });
  const connection = new Http2Connection(host.socket, options);
  return {
    keepaliveTick: () => connection.keepaliveTick(),
    goAway: () => void connection.goAway(),
  };
}

function attach(stream: Http2Stream, host: EngineHost): void {
  const events = host.opened({
    id: stream.id,
    get closed() {
      return stream.closed;
    },
    respond: (fields, endStream) => stream.sendHeaders(fields, endStream),
    write: (message) => void stream.write(message, () => {}),
    end: (trailers) => stream.end(trailers),
    reset: (code) => stream.reset(code),
    consumed: () => stream.resume(),
  });
  stream.reader = {
    read: (bytes, start, end) => events.received(bytes.slice(start, end)),
    get waiting() {
      return events.waiting;
    },
    end: () => events.remoteEnded(),
    close: () => events.closed(),
    tick: () => {},
  };
}

/** A socket whose other side is the fuzzer. It respects pauses, and may stall what is written to it. */
export class MemorySocket extends Duplex {
  /** As of a peer. */
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort = 1;
  /** The peer does not read. */
  stalled = false;
  /** The most that was waiting to be written. */
  mostUnsentBytes = 0;
  readonly #onOutput: (bytes: Uint8Array) => void;
  readonly #incoming: Uint8Array[] = [];
  #reading = false;
  #written: (() => void) | undefined;

  /** `onOutput` is given what the engine writes, unless the peer does not read. */
  constructor(onOutput: (bytes: Uint8Array) => void) {
    super({ allowHalfOpen: false });
    this.#onOutput = onOutput;
  }

  /** The peer sends a chunk. */
  deliver(chunk: Uint8Array): void {
    this.#incoming.push(chunk);
    if (this.#reading) this._read();
  }

  /** The peer has closed its side. */
  deliverEnd(): void {
    if (!this.destroyed && !this.readableEnded) this.push(null);
  }

  /** The engine has read all that was delivered; it pauses the socket while it goes on in a later turn. */
  get consumed(): boolean {
    return this.destroyed || (this.#incoming.length === 0 && this.readableLength === 0 && !this.isPaused());
  }

  /** See `net.Socket`. */
  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else {
      this.once("finish", () => this.destroy());
      this.end();
    }
  }

  override _read(): void {
    const chunk = this.#incoming.shift();
    this.#reading = chunk === undefined;
    if (chunk !== undefined) this.push(chunk);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.mostUnsentBytes = Math.max(this.mostUnsentBytes, this.writableLength);
    if (this.stalled) {
      this.#written = () => (this.#onOutput(chunk), done());
      return;
    }
    this.#onOutput(chunk);
    done();
  }

  /** The peer reads again. */
  unstall(): void {
    this.stalled = false;
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }
}
