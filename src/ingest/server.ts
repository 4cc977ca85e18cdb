/**
 * The gRPC server: binds, limits what a connection may do, answers health checks, shuts down.
 *
 * @module
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";

import { guardHttp2 } from "../http2_guard.ts";
import { SERVICE_NAMES } from "../telemetry_proto.ts";
import { installFastPath } from "./fast_path.ts";
import { Health } from "./health.ts";
import { addTelemetryService } from "./ordinary_path.ts";
import type { Ingest } from "./stream.ts";

/** How a {@linkcode TelemetryServer} is bound and bounded. */
export interface ServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Longest gRPC message. */
  readonly maxMessageBytes: number;
  /** False: grpc-js's own handlers for every call, to compare and to test. */
  readonly fastPath: boolean;
}

/** HTTP/2 streams a device may have open on one connection; a gateway may want some. */
const MAX_STREAMS_PER_CONNECTION = 1000;

/** A connection that is silent for this long is asked for a sign of life, and closed without one. */
const KEEPALIVE_TIME_MS = 30_000, KEEPALIVE_TIMEOUT_MS = 10_000;

/** A listening gRPC server. */
export class TelemetryServer {
  readonly #server: Server;
  readonly #health: Health;

  private constructor(
    server: Server,
    health: Health,
    readonly fastPath: boolean,
    readonly port: number,
  ) {
    this.#server = server;
    this.#health = health;
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
    const port = await new Promise<number>((resolve, reject) => {
      const address = `${options.host.includes(":") ? `[${options.host}]` : options.host}:${options.port}`;
      server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error) reject(new Error(`could not listen on ${address}: ${error.message}`, { cause: error }));
        else resolve(port);
      });
    });
    return new TelemetryServer(server, health, fastPath, port);
  }

  /** What `grpc.health.v1.Health` says, of the server as a whole and of each service. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /** Stops listening, tells the devices to go elsewhere (GOAWAY); resolves when every call has ended. */
  async close(): Promise<void> {
    this.#health.close();
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  /** Cuts all connections. */
  destroy(): void {
    this.#server.forceShutdown();
  }
}
