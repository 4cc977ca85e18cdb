/**
 * The readers' port: HTTP by `Deno.serve`'s own engine, connection by connection, so that each has deadlines and
 * their number a limit.
 *
 * `Deno.serve` accepts by itself, without a limit, waits for ever for the rest of a request, and ends with an error
 * when the process has no file descriptors left. Its engine also serves a single connection that the program has
 * accepted; `Deno[Deno.internal]` has that function, and nothing public does. A proxy in front of `Deno.serve` needs
 * nothing internal, but was measured to cost 40 % of the responses per second with 1,000 devices, and 60 % with
 * 100,000. Where a later Deno lacks the function, `Deno.serve` serves: see `plain_http_server.ts`.
 *
 * @module
 */
import { setTimeout as pause } from "node:timers/promises";

import { isExhausted } from "../runtime/descriptors.ts";
import { networkOf } from "../runtime/network.ts";
import { type ConnectionServer, serveConnection } from "./engine.ts";
import { serveSecured, TlsRelay } from "./tls_relay.ts";
import type {
  Handler,
  HttpCounters,
  HttpServerOptions,
  ReaderConnection,
  ReaderServer,
} from "./reader_server.ts";

/** Node's and nginx's is 60 s; a browser and a proxy send a head in one packet. */
const HEAD_TIMEOUT_MS = 10_000;

/** nginx keeps idle connections to a server for 60 s: it should close them first. */
const IDLE_TIMEOUT_MS = 75_000;

/** How often deadlines are checked. */
const CHECK_INTERVAL_MS = 1000;

/** Wait after a failed accept. */
const ACCEPT_RETRY_MS = 50;

/** Waits, of that length each, for descriptors that are being closed before a connection is refused. */
const DESCRIPTOR_TRIES = 5;

/** Idle connections closed for their file descriptors after each accept that failed for want of them. */
const FREED_PER_FAILURE = 16;

/** Time without a refused connection after which the log reports that readers are accepted again. */
const QUIET_MS = 3000;

/** Connections accepted between two checks of the file descriptors. */
const ACCEPTED_PER_CHECK = 64;

const BACKLOG = 4096;

/** One connection of a reader. */
interface Connection extends ReaderConnection {
  readonly server: ConnectionServer;
  readonly cut: AbortController;
  requests: number;
  /** An event stream is being sent. */
  streaming: boolean;
  responded: boolean;
  /** When it was accepted, its latest request came, or its latest response ended. */
  sinceMs: number;
}

/** A server that listens. */
export class HttpServer implements ReaderServer {
  /** Address bound. */
  readonly address: Deno.NetAddr;
  readonly #options: HttpServerOptions;
  readonly #counters: HttpCounters;
  readonly #handler: Handler;
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Connection>();
  /** Those without a request in progress, idle longest first. */
  readonly #idleConnections = new Set<Connection>();
  readonly #perAddress = new Map<string, number>();
  readonly #closing = new AbortController();
  /** With TLS only. */
  readonly #relay: TlsRelay | undefined;
  readonly #checking: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  #requests = 0;
  #acceptedSinceCheck = 0;
  /** Too few file descriptors are free. */
  #short = false;
  /** When a connection was refused last; undefined once the log has reported the end of it. */
  #limitedAtMs: number | undefined;
  #closed: Promise<void> | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  /** Binds and serves; throws when the address cannot be had. */
  constructor(options: HttpServerOptions, counters: HttpCounters, handler: Handler) {
    this.#options = options;
    this.#counters = counters;
    this.#handler = handler;
    const { host: hostname, port } = options;
    this.#listener = Deno.listen({ hostname, port, tcpBacklog: BACKLOG });
    this.#relay = options.tls && new TlsRelay(options.tls, options.log, counters);
    this.address = this.#listener.addr;
    const { headTimeoutMs = HEAD_TIMEOUT_MS, idleTimeoutMs = IDLE_TIMEOUT_MS, responseTimeoutMs } = options;
    const shortestMs = Math.min(headTimeoutMs, idleTimeoutMs, responseTimeoutMs);
    this.#checking = setInterval(
      () => this.#checkDeadlines(performance.now(), headTimeoutMs, idleTimeoutMs),
      Math.min(CHECK_INTERVAL_MS, shortestMs / 4),
    );
    this.#accepting = this.#acceptAll();
  }

  /** Resolves when no request is in progress. */
  idle(): Promise<void> {
    this.#idle ??= Promise.withResolvers();
    if (this.#requests === 0) this.#idle.resolve();
    return this.#idle.promise;
  }

  /** Stops listening and closes every connection, gracefully until `deadline`. */
  close(deadline: Promise<void>): Promise<void> {
    return this.#closed ??= this.#close(deadline);
  }

  async #close(deadline: Promise<void>): Promise<void> {
    clearInterval(this.#checking);
    this.#closing.abort();
    this.#listener.close();
    this.#relay?.close();
    const closed = Array.from(this.#connections, (connection) => {
      if (connection.requests === 0) return Promise.race([connection.server.shutdown(), deadline]);
      connection.cut.abort();
      return connection.server.finished.catch(() => {});
    });
    await Promise.all([this.#accepting, ...closed]);
  }

  async #acceptAll(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#serve(await this.#listener.accept());
      } catch (error) {
        if (signal.aborted) return;
        if (isExhausted(error)) this.#exhausted();
        else this.#options.log.debug("accepting a reader failed", { error }); // it had disconnected
        await pause(ACCEPT_RETRY_MS, undefined, { signal }).catch(() => {}); // aborted
      }
    }
  }

  #checkDescriptors(): void {
    const { reserve } = this.#options;
    if (this.#acceptedSinceCheck === 0 && !this.#short || reserve === undefined) return;
    this.#acceptedSinceCheck = 0;
    this.#short = reserve.count() < reserve.descriptors;
  }

  /** Waits a moment: devices may have used too many in a burst, or connections that were cut off are closed just now. */
  async #awaitDescriptors(): Promise<boolean> {
    const { signal } = this.#closing;
    for (let tries = 0; tries < DESCRIPTOR_TRIES && this.#short && !signal.aborted; tries++) {
      await pause(ACCEPT_RETRY_MS, undefined, { signal }).catch(() => {}); // aborted
      this.#checkDescriptors();
    }
    return !this.#short && this.#connections.size < this.#options.maxConnections;
  }

  /** Frees descriptors; done after each accept that failed for want of them. */
  #exhausted(): void {
    this.#limited("no file descriptors are left");
    for (const connection of [...this.#idleConnections].slice(0, FREED_PER_FAILURE)) this.#cutOff(connection);
  }

  async #serve(accepted: Deno.TcpConn): Promise<void> {
    if (++this.#acceptedSinceCheck >= ACCEPTED_PER_CHECK) this.#checkDescriptors();
    const address = networkOf(accepted.remoteAddr.hostname);
    const hasRoom = await this.#makeRoom(address);
    if (this.#closing.signal.aborted) return accepted.close();
    if (!hasRoom) {
      accepted.close();
      return this.#refuse();
    }
    const cut = new AbortController();
    const { onError } = this.#options;
    const handle = (request: Request, info: Deno.ServeHandlerInfo) =>
      this.#respond(connection, request, info);
    const connection: Connection = {
      eventStream: (source) => this.#eventStream(connection, source),
      server: this.#relay === undefined
        ? serveConnection!(accepted, cut.signal, handle, onError, () => {})
        : serveSecured(this.#relay, accepted, cut.signal, handle, onError),
      ...{ cut, address, requests: 0, streaming: false, responded: false, sinceMs: performance.now() },
    };
    this.#connections.add(connection);
    this.#counters.connections++;
    this.#idleConnections.add(connection);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    connection.server.finished.catch(() => connection.server.shutdown()) // releases its resource
      .catch(() => {}).then(() => this.#remove(connection));
  }

  #respond(
    connection: Connection,
    request: Request,
    info: Deno.ServeHandlerInfo,
  ): Response | Promise<Response> {
    this.#requests++;
    connection.requests++;
    connection.sinceMs = performance.now();
    this.#idleConnections.delete(connection);
    const completed = () => {
      connection.requests--;
      connection.streaming = false;
      connection.responded = true;
      connection.sinceMs = performance.now();
      if (connection.requests === 0 && this.#connections.has(connection)) {
        this.#idleConnections.add(connection);
      }
      if (--this.#requests === 0) this.#idle?.resolve();
    };
    info.completed.then(completed, completed);
    return this.#handler(request, connection);
  }

  #eventStream(connection: Connection, source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    connection.streaming = true;
    return watched(source, (failed) => {
      connection.streaming = false;
      connection.sinceMs = performance.now();
      // While the engine waits for a reader that reads nothing, it does not detect the error.
      if (failed && this.#connections.has(connection)) this.#cutOff(connection);
    });
  }

  /** Whether one more connection of `address` may be open; closes an idle one for it if need be. */
  async #makeRoom(address: string): Promise<boolean> {
    const { maxConnections, maxConnectionsPerAddress } = this.#options;
    const ofOneAddress = (this.#perAddress.get(address) ?? 0) >= maxConnectionsPerAddress;
    if (!ofOneAddress && !this.#short && this.#connections.size < maxConnections) return true;
    const replaced = this.#idleConnections.values().find((idle) => !ofOneAddress || idle.address === address);
    if (replaced === undefined) return !ofOneAddress && this.#short && await this.#awaitDescriptors();
    this.#cutOff(replaced);
    // Its descriptor is closed a turn later; in a flood many turns' worth of them would be open.
    const over = new AbortController();
    const late = pause(ACCEPT_RETRY_MS, undefined, { signal: over.signal });
    await Promise.race([replaced.server.finished, late]).catch(() => {});
    over.abort();
    await late.catch(() => {}); // aborted
    return true;
  }

  #refuse(): void {
    this.#counters.connectionsRefused++;
    this.#limited(this.#short ? "too few file descriptors are left" : "as many as allowed are open");
  }

  #limited(reason: string): void {
    if (this.#limitedAtMs === undefined) {
      const { maxConnections, maxConnectionsPerAddress, log } = this.#options;
      const connections = this.#connections.size;
      log.warn("readers are refused", { reason, connections, maxConnections, maxConnectionsPerAddress });
    }
    this.#limitedAtMs = performance.now();
  }

  #cutOff(connection: Connection): void {
    this.#counters.connectionsCut++;
    connection.cut.abort();
    this.#remove(connection);
  }

  #remove(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#counters.connections--;
    this.#idleConnections.delete(connection);
    const left = this.#perAddress.get(connection.address)! - 1;
    if (left > 0) this.#perAddress.set(connection.address, left);
    else this.#perAddress.delete(connection.address);
  }

  #checkDeadlines(nowMs: number, headTimeoutMs: number, idleTimeoutMs: number): void {
    this.#checkDescriptors();
    const { responseTimeoutMs, log } = this.#options;
    if (this.#limitedAtMs !== undefined && nowMs - this.#limitedAtMs > QUIET_MS) {
      this.#limitedAtMs = undefined;
      log.info("readers are accepted again", { connectionsRefused: this.#counters.connectionsRefused });
    }
    for (const connection of this.#connections) {
      const { requests, streaming, responded, sinceMs } = connection;
      if (streaming) continue;
      const allowedMs = requests > 0 ? responseTimeoutMs : responded ? idleTimeoutMs : headTimeoutMs;
      if (nowMs - sinceMs >= allowedMs) this.#cutOff(connection);
    }
  }
}

/** The same stream; `ended` is called when its source closes or fails, even if it is not read. */
function watched(source: ReadableStream<Uint8Array>, ended: (failed: boolean) => void) {
  const reader = source.getReader();
  reader.closed.then(() => ended(false), () => ended(true));
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}
