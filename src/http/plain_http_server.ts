/**
 * The readers' port in a Deno that cannot serve a single connection, see `http_server.ts`: `Deno.serve` as
 * it is, without limits and deadlines.
 *
 * @module
 */
import { networkOf } from "../runtime/network.ts";
import type { Handler, HttpServerOptions, ReaderServer } from "./reader_server.ts";

/** Wait before `Deno.serve` is started again after it ended, most likely because no file descriptors were free. */
const RESTART_MS = 1000;

/** A server that listens. */
export class PlainHttpServer implements ReaderServer {
  /** Address bound. */
  address!: Deno.NetAddr;
  readonly #options: HttpServerOptions;
  readonly #handler: Handler;
  readonly #cut = new AbortController();
  #server: Deno.HttpServer;
  #requests = 0;
  #restart: ReturnType<typeof setTimeout> | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  /** Binds and serves; throws when the address cannot be had. */
  constructor(options: HttpServerOptions, handler: Handler) {
    this.#options = options;
    this.#handler = handler;
    options.log.warn("readers' connections have no bounds and deadlines: this Deno can only serve a port", {
      deno: Deno.version.deno,
      toChange: "use Deno 2.9.6",
    });
    this.#server = this.#serve(options.port);
  }

  /** Resolves when no request is in progress. */
  idle(): Promise<void> {
    this.#idle ??= Promise.withResolvers();
    if (this.#requests === 0) this.#idle.resolve();
    return this.#idle.promise;
  }

  /** Stops listening and closes every connection, gracefully until `deadline`. */
  async close(deadline: Promise<void>): Promise<void> {
    clearTimeout(this.#restart);
    if (this.#requests === 0) return await Promise.race([this.#server.shutdown(), deadline]);
    this.#cut.abort();
    await this.#server.finished.catch(() => {}); // logged
  }

  #serve(port: number): Deno.HttpServer {
    const { host: hostname, onError, log } = this.#options;
    const onListen = (address: Deno.NetAddr) => void (this.address = address);
    const eventStream = (source: ReadableStream<Uint8Array>) => source;
    const server = Deno.serve(
      { hostname, port, onListen, onError, signal: this.#cut.signal },
      (request, info) => {
        this.#requests++;
        const completed = () => {
          if (--this.#requests === 0) this.#idle?.resolve();
        };
        info.completed.then(completed, completed);
        return this.#handler(request, { address: networkOf(info.remoteAddr.hostname), eventStream });
      },
    );
    server.finished.catch((error) => {
      log.error("serving readers ended: starting it again", { error, restartMs: RESTART_MS });
      this.#restart = setTimeout(() => this.#server = this.#serve(this.address.port), RESTART_MS);
    });
    return server;
  }
}
