/**
 * TLS of the readers' port. The engine of Deno serves TLS connections that a `Deno.TlsListener` has accepted, and no
 * others. Such a listener cannot change its certificate, and a connection whose handshake is not complete cannot be
 * closed: its socket and its memory stay until the client closes it. So the listener here is one on loopback, of this
 * process alone, and the bytes of each accepted socket are relayed to it: the socket can be closed at any time, which
 * ends the handshake too, and a listener with a new certificate takes the place of the old one.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { messageOf } from "../runtime/error_text.ts";
import type { TlsFiles } from "../tls/tls_files.ts";
import { type ConnectionServer, type ServeConnection, serveConnection } from "./engine.ts";
import type { HttpCounters } from "./reader_server.ts";

/** First byte of a TLS record with a ClientHello. */
const HANDSHAKE_RECORD = 0x16;

/** Bytes relayed at once. */
const CHUNK_BYTES = 32 * 1024;

/** Connections of which only one end is known, and how long that may be so. */
const MAX_UNKNOWN = 1000, UNKNOWN_MS = 1000;

/** Time for a client to close its socket after it was sent everything. */
const LINGER_MS = 1000;

/** As nginx responds to a request in plain text on a port with TLS. */
const plainTextResponse = new TextEncoder().encode(
  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 40\r\n\r\n" +
    "This port has TLS: use https, not http.\n",
);

/** A connection whose handshake is complete. */
export interface Secured {
  /** For the engine. */
  readonly connection: Deno.TlsConn;
  /** Resolves when the client's socket is closed. */
  readonly ended: Promise<void>;
}

/** Encrypts the connections of a port. */
export class TlsRelay {
  readonly #log: Logger;
  readonly #counters: HttpCounters;
  #listener: Deno.TlsListener;
  /** The two ends of a relayed connection find each other by the port it comes from: this one waits for the other. */
  readonly #expected = new Map<number, (accepted: Deno.TlsConn) => void>();
  /** These were accepted first. */
  readonly #accepted = new Map<number, Deno.TlsConn>();
  readonly #later = new Map<ReturnType<typeof setTimeout>, () => void>();

  /** Listens on loopback with the certificate of `files`, and again when they change; throws if that cannot be used. */
  constructor(files: TlsFiles, log: Logger, counters: HttpCounters) {
    this.#log = log;
    this.#counters = counters;
    this.#listener = this.#listen(files.material.pair);
    files.onChange = ({ pair }) => {
      const former = this.#listener;
      this.#listener = this.#listen(pair);
      // Its connections continue; those that it has not accepted are connected to it already.
      this.#afterwards(() => closeQuietly(former));
    };
  }

  /**
   * The decrypted connection of a client, when its handshake is complete; rejects when it fails. `client` is closed when
   * either side is. To be ended earlier by closing `client`.
   */
  async open(client: Deno.TcpConn): Promise<Secured> {
    try {
      const secured = await this.#open(client);
      this.#counters.tlsHandshakes++;
      return secured;
    } catch (error) {
      this.#counters.tlsHandshakesFailed++;
      this.#log.debug("TLS handshake with a reader failed", { reason: messageOf(error) });
      closeQuietly(client);
      throw error;
    }
  }

  /** Listens no more. */
  close(): void {
    for (const [timer, work] of this.#later) {
      clearTimeout(timer);
      work();
    }
    closeQuietly(this.#listener);
  }

  async #open(client: Deno.TcpConn): Promise<Secured> {
    // A client that sends nothing costs no more than its socket.
    const first = new Uint8Array(CHUNK_BYTES);
    const length = await client.read(first);
    if (length === null) throw new Error("the client closed the connection");
    if (first[0] !== HANDSHAKE_RECORD) {
      await client.write(plainTextResponse);
      throw new Error("the client sent plain text, and the port has TLS");
    }
    const { hostname, port } = this.#listener.addr;
    const inner = await Deno.connect({ hostname, port });
    inner.setNoDelay();
    const from = inner.localAddr.port;
    const ended = relay(client, inner, first.slice(0, length));
    const failed = ended.then(() => {
      this.#expected.delete(from);
      throw new Error("the connection was closed");
    });
    failed.catch(() => {}); // for the handshake only
    const connection = await Promise.race([this.#otherEnd(from), failed]);
    try {
      await Promise.race([connection.handshake(), failed]);
    } catch (error) {
      closeQuietly(connection);
      throw error;
    }
    return { connection, ended };
  }

  /** What the listener accepts from this port. */
  async #otherEnd(port: number): Promise<Deno.TlsConn> {
    const accepted = this.#accepted.get(port);
    this.#accepted.delete(port);
    return accepted ?? await new Promise((resolve) => this.#expected.set(port, resolve));
  }

  #listen({ cert, key }: { readonly cert: string; readonly key: string }): Deno.TlsListener {
    const options = {
      hostname: "127.0.0.1",
      port: 0,
      cert,
      key,
      alpnProtocols: ["h2", "http/1.1"],
      tcpBacklog: 4096,
    };
    const listener = Deno.listenTls(options);
    this.#accept(listener);
    return listener;
  }

  async #accept(listener: Deno.TlsListener): Promise<void> {
    for (;;) {
      let accepted: Deno.TlsConn;
      try {
        accepted = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return; // closed
        await new Promise((resolve) => setTimeout(resolve, 50)); // no file descriptors
        continue;
      }
      const { port } = accepted.remoteAddr;
      const resolve = this.#expected.get(port);
      this.#expected.delete(port);
      if (resolve !== undefined) resolve(accepted);
      else this.#keep(port, accepted);
    }
  }

  /** One whose other end is not known yet; or not of this process, or closed meanwhile. */
  #keep(port: number, accepted: Deno.TlsConn): void {
    if (this.#accepted.size >= MAX_UNKNOWN) return closeQuietly(accepted);
    this.#accepted.set(port, accepted);
    this.#afterwards(() => {
      if (this.#accepted.get(port) !== accepted) return;
      this.#accepted.delete(port);
      closeQuietly(accepted);
    });
  }

  /** Runs `work` after {@linkcode UNKNOWN_MS}, or when this is closed. */
  #afterwards(work: () => void): void {
    const timer = setTimeout(() => {
      this.#later.delete(timer);
      work();
    }, UNKNOWN_MS);
    this.#later.set(timer, work);
  }
}

/**
 * Serves a connection over TLS. `signal` ends it also during the handshake, and when the engine waits for a reader that
 * reads nothing.
 */
export function serveSecured(
  relay: TlsRelay,
  accepted: Deno.TcpConn,
  signal: AbortSignal,
  ...[handle, onError]: [Parameters<ServeConnection>[2], Parameters<ServeConnection>[3]]
): ConnectionServer {
  let engine: Deno.HttpServer | undefined;
  const opened = relay.open(accepted);
  const closeSocket = () => closeQuietly(accepted);
  signal.addEventListener("abort", closeSocket);
  const serve = async () => {
    const { connection, ended } = await opened;
    engine = serveConnection!(connection, signal, handle, onError, () => {});
    try {
      await engine.finished;
    } finally {
      await ended;
    }
  };
  return {
    finished: serve(),
    shutdown: async () => {
      if (engine === undefined) return closeSocket();
      await engine.shutdown();
      await opened.then(({ ended }) => ended, () => {});
    },
  };
}

/** Copies bytes in both directions; resolves when both sockets are closed. `first`: bytes of the client read already. */
async function relay(client: Deno.TcpConn, inner: Deno.TcpConn, first: Uint8Array): Promise<void> {
  const closeBoth = () => {
    closeQuietly(client);
    closeQuietly(inner);
  };
  const request = copy(client, inner, first);
  const response = copy(inner, client, new Uint8Array(0));
  request.catch(closeBoth);
  response.catch(closeBoth);
  await response.catch(() => {});
  // Nothing more is sent. Closing a socket with unread bytes resets it, and the client may lose what was sent.
  const timer = setTimeout(closeBoth, LINGER_MS);
  await request.catch(() => {});
  clearTimeout(timer);
  closeBoth();
}

/** Copies bytes until `from` is half-closed, then half-closes `to`; rejects when one of them is closed. */
async function copy(from: Deno.TcpConn, to: Deno.TcpConn, first: Uint8Array): Promise<void> {
  await writeAll(to, first);
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const length = await from.read(buffer);
    if (length === null) return await to.closeWrite();
    await writeAll(to, buffer.subarray(0, length));
  }
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

/** Closes what may be closed already. */
function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // BadResource: it was closed before.
  }
}
