/**
 * The gRPC server: binds, limits what a connection may do, answers health checks, shuts down.
 *
 * @module
 */
import { type AddressInfo, createServer, type Server as Listener, type Socket } from "node:net";

import { Server, ServerCredentials } from "@grpc/grpc-js";

import { guardHttp2 } from "../http2_guard.ts";
import { SERVICE_NAMES } from "../telemetry_proto.ts";
import { DataFrames } from "./data_frames.ts";
import { guardStreams, installFastPath } from "./fast_path.ts";
import { Health } from "./health.ts";
import { addTelemetryService } from "./ordinary_path.ts";
import type { Ingest } from "./stream.ts";

/** How a {@linkcode TelemetryServer} is bound and bounded. */
export interface ServerOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Other processes that ask for it too may listen on the same port; the system deals out connections. */
  readonly reusePort: boolean;
  /** Longest gRPC message. */
  readonly maxMessageBytes: number;
  /** False: grpc-js's own handlers for every call, to compare and to test. */
  readonly fastPath: boolean;
}

/** HTTP/2 streams a device may have open on one connection; a gateway may want some. */
const MAX_STREAMS_PER_CONNECTION = 1000;

/** A connection that is silent for this long is asked for a sign of life, and closed without one. */
const KEEPALIVE_TIME_MS = 30_000, KEEPALIVE_TIMEOUT_MS = 10_000;

/**
 * Connections that may wait to be accepted: a fleet that reconnects all together. The system caps it
 * (Linux: net.core.somaxconn, 4,096 since 5.4); the usual 511 makes the rest of 5,000 try again after
 * one second and more.
 */
const BACKLOG = 4096;

/** How long a device may take to close its connection when all calls have ended. */
const HANG_UP_MS = 1000;

/** A listening gRPC server. */
export class TelemetryServer {
  // Accepted here and not by grpc-js, which can neither share a port nor set a backlog.
  readonly #listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #health: Health;
  readonly #connections: ReturnType<Server["createConnectionInjector"]>;
  #fastPath: boolean;
  #port = 0;

  private constructor(server: Server, health: Health, fastPath: boolean) {
    this.#server = server;
    this.#health = health;
    this.#fastPath = fastPath;
    this.#connections = server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Binds and serves; rejects when the address cannot be had. */
  static async start(ingest: Ingest, options: ServerOptions): Promise<TelemetryServer> {
    guardHttp2();
    const server = new Server({
      "grpc.max_receive_message_length": options.maxMessageBytes,
      "grpc.max_concurrent_streams": MAX_STREAMS_PER_CONNECTION,
      "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
      // Its bookkeeping per message is of no use here, and the quick way does not feed it.
      "grpc.enable_channelz": 0,
    });
    addTelemetryService(server, ingest);
    const health = new Health(SERVICE_NAMES);
    health.addTo(server);
    const fastPath = options.fastPath && installFastPath(server, ingest, options.maxMessageBytes);
    guardStreams(server); // last, so that it sees them first

    const telemetryServer = new TelemetryServer(server, health, fastPath);
    telemetryServer.#port = await listen(telemetryServer.#listener, options);
    return telemetryServer;
  }

  /** TCP port bound. */
  get port(): number {
    return this.#port;
  }

  /** Whether the quick way of `fast_path.ts` and `data_frames.ts` serves, as far as is known. */
  get fastPath(): boolean {
    return this.#fastPath;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** What `grpc.health.v1.Health` says, of the server as a whole and of each service. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /** Stops listening, tells the devices to go elsewhere (GOAWAY); resolves when every call has ended. */
  async close(): Promise<void> {
    this.#health.close();
    this.#listener.close();
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  /** Resolves when every device, having heard all, has hung up; those who have not after a second are cut off. */
  async closed(): Promise<void> {
    const cut = setTimeout(() => this.destroy(), HANG_UP_MS);
    await Promise.all(
      Array.from(this.#sockets, (socket) => new Promise((close) => socket.once("close", close))),
    );
    clearTimeout(cut);
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    this.#connections.injectConnection(socket);
    this.#fastPath &&= DataFrames.watch(socket);
  }

  /** Cuts all connections. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Resolves to the port. */
function listen(listener: Listener, { host, port, reusePort }: ServerOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    listener.once("error", (error) => {
      const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
      reject(new Error(`could not listen on ${address}: ${error.message}`, { cause: error }));
    });
    listener.listen({ host, port, reusePort, backlog: BACKLOG }, () => {
      resolve((listener.address() as AddressInfo).port);
    });
  });
}
