/**
 * The server of the readers' port: its options, and what it does; see `http_server.ts`.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { DescriptorReserve } from "../runtime/descriptors.ts";
import type { TlsFiles } from "../tls/tls_files.ts";

/** Limits of the readers' connections. */
export interface HttpLimits {
  /**
   * Connections open at once. For a further one, the connection that has been idle longest is closed; if none is
   * idle, the further one is.
   */
  readonly maxConnections: number;
  /** The same for one address; of IPv6, for one /64 network. */
  readonly maxConnectionsPerAddress: number;
  /** Time for the whole head of a connection's first request; default 10 s. */
  readonly headTimeoutMs?: number;
  /** Time between a response and the whole head of the next request; default 75 s, above what proxies keep. */
  readonly idleTimeoutMs?: number;
  /** Time for a request's body, its response and the reading of it; event streams have no such limit. */
  readonly responseTimeoutMs: number;
}

/** How an {@linkcode HttpServer} is bound. */
export interface HttpServerOptions extends HttpLimits {
  /** Address to bind. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** With fewer file descriptors free than these, another connection is closed for a further one; default: none. */
  readonly reserve?: DescriptorReserve | undefined;
  /** TLS of the port; undefined: plain text. */
  readonly tls?: TlsFiles | undefined;
  /** The response where the handler failed. */
  readonly onError: (error: unknown) => Response;
  /** Receives a line when a limit is reached, and when there is room again. */
  readonly log: Logger;
}

/** Counts the connections since the process started. */
export class HttpCounters {
  /** Open now. */
  connections = 0;
  /** Closed as soon as they were accepted, for want of room. */
  connectionsRefused = 0;
  /** Closed at a deadline, or to make room for another one. */
  connectionsCut = 0;
  /** TLS handshakes completed. */
  tlsHandshakes = 0;
  /** TLS handshakes that failed, timed out, or were of clients that do not use TLS. */
  tlsHandshakesFailed = 0;
}

/** A readers' port that serves. */
export interface ReaderServer {
  /** Address bound. */
  readonly address: Deno.NetAddr;
  /** Resolves when no request is in progress. */
  idle(): Promise<void>;
  /**
   * Stops listening and closes every connection: at once where a request is in progress; the others when their
   * readers have read the last responses, or when `deadline` resolves: from then on those last until the end of the
   * process, because the engine cannot be stopped once it shuts down gracefully.
   */
  close(deadline: Promise<void>): Promise<void>;
}

/** The connection by which a request came. */
export interface ReaderConnection {
  /** Its address; of IPv6, the /64 network. */
  readonly address: string;
  /**
   * The body of a response that has no end of its own: no deadline applies, and when `source` fails its connection is
   * closed, also while the reader reads nothing.
   */
  eventStream(source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>;
}

/** Responds to one request. */
export type Handler = (request: Request, connection: ReaderConnection) => Response | Promise<Response>;
