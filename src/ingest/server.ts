/**
 * The gRPC server: binds, limits what a connection may do, answers health checks, shuts down.
 *
 * @module
 */
import { type AddressInfo, createServer, type Server as Listener, type Socket } from "node:net";
import type { Duplex } from "node:stream";

import { Server, ServerCredentials } from "@grpc/grpc-js";

import { guardHttp2 } from "../http2_guard.ts";
import { SERVICE_NAMES } from "../telemetry_proto.ts";
import type { IngestCounters } from "./counters.ts";
import { acceptTelemetry } from "./fast_path.ts";
import { Health } from "./health.ts";
import { type Accept, Http2Connection } from "./http2_connection.ts";
import { addTelemetryService, guardStreams } from "./ordinary_path.ts";
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
  /** False: grpc-js serves every call. */
  readonly fastPath: boolean;
}

/**
 * How often each connection is looked at: one that is silent for 30 to 40 s is asked for a sign of life, and cut
 * off ten seconds later.
 */
const CHECK_INTERVAL_MS = 10_000;

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
  readonly #connections = new Set<Http2Connection>();
  readonly #server: Server;
  readonly #health = new Health(SERVICE_NAMES);
  readonly #toGrpcJs: (socket: Duplex) => void;
  readonly #accepted: Accept;
  readonly #counters: IngestCounters;
  readonly #checking: ReturnType<typeof setInterval>;
  #port = 0;

  private constructor(ingest: Ingest, options: ServerOptions) {
    this.#counters = ingest.counters;
    guardHttp2();
    this.#server = new Server({
      "grpc.max_receive_message_length": options.maxMessageBytes,
      // Its bookkeeping per message is of no use here, and the quick way does not feed it.
      "grpc.enable_channelz": 0,
    });
    addTelemetryService(this.#server, ingest, options.maxMessageBytes);
    this.#health.addTo(this.#server);
    guardStreams(this.#server);
    const { injectConnection } = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#toGrpcJs = injectConnection;
    this.#accepted = options.fastPath ? acceptTelemetry(ingest, options.maxMessageBytes) : () => undefined;
    this.#checking = setInterval(() => {
      for (const connection of this.#connections) connection.check();
    }, CHECK_INTERVAL_MS);
  }

  /** Binds and serves; rejects when the address cannot be had. */
  static async start(ingest: Ingest, options: ServerOptions): Promise<TelemetryServer> {
    const server = new TelemetryServer(ingest, options);
    try {
      server.#port = await listen(server.#listener, options);
    } catch (error) {
      clearInterval(server.#checking);
      throw error;
    }
    return server;
  }

  /** TCP port bound. */
  get port(): number {
    return this.#port;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** What `grpc.health.v1.Health` says, of the server as a whole and of each service. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /** Stops listening, tells the devices to go elsewhere (GOAWAY); resolves when every call has ended. */
  async close(): Promise<void> {
    clearInterval(this.#checking);
    this.#health.close();
    this.#listener.close();
    await Promise.all(Array.from(this.#connections, (connection) => connection.goAway()));
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  /** Resolves when every device, having heard all, has hung up; those who have not after a second are cut off. */
  async closed(): Promise<void> {
    const cut = setTimeout(() => this.destroy(), HANG_UP_MS);
    await Promise.all(
      Array.from(this.#connections, ({ socket }) => new Promise((close) => socket.once("close", close))),
    );
    clearTimeout(cut);
  }

  #accept(socket: Socket): void {
    const connection = new Http2Connection(socket, this.#accepted, this.#toGrpcJs, this.#counters);
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }

  /** Cuts all connections. */
  destroy(): void {
    for (const { socket } of this.#connections) socket.destroy();
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
