/**
 * What serves readers is given, and what it does; see `http_server.ts`.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { DescriptorReserve } from "../../runtime/descriptors.ts";

/** Bounds of the readers' connections. */
export interface HttpLimits {
  /**
   * Connections open at once. A further one takes the place of the one that has waited longest without a
   * request under way; if there is none, it is closed.
   */
  readonly maxConnections: number;
  /** The same for one address; of IPv6, for one /64 network. */
  readonly maxConnectionsPerAddress: number;
  /** Time for the whole head of a connection's first request; default 10 s. */
  readonly headTimeoutMs?: number;
  /** Time between an answer and the whole head of the next request; default 75 s, above what proxies keep. */
  readonly idleTimeoutMs?: number;
  /** Time for a request's body, its answer and the reading of it; event streams have no such end. */
  readonly answerTimeoutMs: number;
}

/** How an {@linkcode HttpServer} is bound. */
export interface HttpServerOptions extends HttpLimits {
  /** Address to bind. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** With fewer file descriptors free than these, a further connection has to take another's place; default: none. */
  readonly reserve?: DescriptorReserve | undefined;
  /** Answers what the handler failed to answer. */
  readonly onError: (error: unknown) => Response;
  /** Receives a line when a limit is reached, and when there is room again. */
  readonly log: Logger;
}

/** What became of the connections since the process started. */
export class HttpCounters {
  /** Open now. */
  connections = 0;
  /** Closed as soon as they were accepted, for want of room. */
  connectionsRefused = 0;
  /** Closed at a deadline, or to make room for another one. */
  connectionsCut = 0;
}

/** A port of readers at work. */
export interface ReaderServer {
  /** Address bound. */
  readonly address: Deno.NetAddr;
  /** Resolves when no request is under way. */
  idle(): Promise<void>;
  /**
   * Stops listening and closes every connection: at once where a request is under way; the others when their
   * readers have taken the last answers, or when `deadline` resolves: from then on those are left to the end of
   * the process, because the engine cannot be stopped once it was asked to wait.
   */
  close(deadline: Promise<void>): Promise<void>;
}

/** The connection by which a request came. */
export interface ReaderConnection {
  /**
   * The body of an answer that has no end of its own: it may last, and when `source` fails its connection is
   * closed, also while the reader takes nothing.
   */
  eventStream(source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>;
}

/** Answers one request. */
export type Handler = (request: Request, connection: ReaderConnection) => Response | Promise<Response>;
