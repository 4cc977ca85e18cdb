/**
 * The gRPC server: binds, wires the listener, the connections and both paths together, and shuts down.
 *
 * @module
 */
import type { Socket } from "node:net";

import { Server, ServerCredentials, setLogger } from "@grpc/grpc-js";

import { type ConnectionOptions, Http2Connection } from "../http2/connection.ts";
import { type ConnectionLimits, defaultLimits } from "../http2/limits.ts";
import { TurnScheduler } from "../http2/turn_scheduler.ts";
import type { RequestError } from "../protocol/request_error.ts";
import { SERVICE_NAMES } from "../protocol/telemetry_proto.ts";
import { grpcJsLogger } from "../runtime/grpc_js_log.ts";
import { guardHttp2 } from "../runtime/node_http2_guard.ts";
import { type ConnectionAgeOptions, ConnectionAges } from "./connection_ages.ts";
import { DeviceListener, type ListenerOptions } from "./listen/listener.ts";
import { BridgedContexts } from "./rpc/bridged_contexts.ts";
import { MAX_BRIDGED_MESSAGE_BYTES, routeCalls } from "./rpc/call_route.ts";
import type { CallerCheck } from "./rpc/caller_check.ts";
import { ClaimScheduler } from "./rpc/claim_scheduler.ts";
import { receiveTelemetry } from "./rpc/fast_path.ts";
import { addTelemetryService, guardStreams } from "./rpc/grpc_js_path.ts";
import { Health } from "./rpc/health.ts";
import { Inflater } from "./rpc/inflater.ts";
import { MessageMemory } from "./rpc/message_memory.ts";
import { Reflection } from "./rpc/reflection.ts";
import type { Peer } from "./stream/call_context.ts";
import type { IngestState } from "./stream/ingest_state.ts";

/** How a {@linkcode TelemetryServer} is bound and bounded. */
export interface ServerOptions extends ListenerOptions, ConnectionAgeOptions {
  /** Longest gRPC message. */
  readonly maxMessageBytes: number;
  /** Verifies callers of telemetry. */
  readonly callers: CallerCheck;
  /** False: grpc-js serves uncompressed telemetry too. */
  readonly fastPath: boolean;
  /** Whether gRPC's reflection is served; default true. */
  readonly reflection?: boolean | undefined;
  /** Bounds of each connection; the defaults where undefined. */
  readonly limits?: ConnectionLimits | undefined;
}

/** Where grpc-js serves telemetry, its calls are as many as the streams that devices open. */
const bridgedTelemetryLimits: ConnectionLimits = {
  ...defaultLimits,
  bridgedCallBurst: 10_000,
  bridgedCallsPerSecond: 10_000,
};

/** Time for a device to close its connection after all calls have ended. */
const CLOSE_GRACE_MS = 1000;

/** A listening gRPC server. */
export class TelemetryServer {
  // Not grpc-js's own, which can neither share a port nor set a backlog.
  #listener!: DeviceListener;
  readonly #connections = new Map<Http2Connection, Socket>();
  readonly #server: Server;
  readonly #health = new Health(SERVICE_NAMES);
  /** Contexts of the calls that grpc-js serves. */
  readonly #bridged = new BridgedContexts();
  readonly #reflection = new Reflection(this.#bridged);
  readonly #connectionOptions: ConnectionOptions;
  readonly #ages: ConnectionAges;
  readonly #checking: ReturnType<typeof setInterval>;

  private constructor(ingest: IngestState, options: ServerOptions) {
    guardHttp2();
    setLogger(grpcJsLogger(options.log));
    const { fastPath, maxMessageBytes } = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": fastPath ? MAX_BRIDGED_MESSAGE_BYTES : maxMessageBytes,
      // Its bookkeeping per message is not used here, and does not see the fast path.
      "grpc.enable_channelz": 0,
    });
    addTelemetryService(this.#server, ingest, this.#bridged, maxMessageBytes);
    this.#health.addTo(this.#server);
    this.#reflection.addTo(this.#server);
    guardStreams(this.#server);
    this.#connectionOptions = this.#connectionsFor(ingest, options);
    this.#ages = new ConnectionAges(options, {
      endStreams: (peers, error) => endStreams(ingest, peers, error),
      counters: ingest.counters,
      now: () => performance.now(),
      random: Math.random,
    });
    this.#checking = setInterval(() => {
      for (const connection of this.#connections.keys()) connection.keepaliveTick();
    }, this.#connectionOptions.limits.keepaliveTickMs);
  }

  #connectionsFor(ingest: IngestState, options: ServerOptions): ConnectionOptions {
    const {
      fastPath,
      maxMessageBytes,
      callers,
      reflection = true,
      limits = fastPath ? defaultLimits : bridgedTelemetryLimits,
    } = options;
    const now = () => performance.now(), counters = ingest.counters.http2;
    const memory = new MessageMemory(maxMessageBytes), inflater = new Inflater(maxMessageBytes, now);
    const claims = new ClaimScheduler(now);
    const receive = receiveTelemetry({ ingest, claims, memory, inflater, maxMessageBytes });
    const { injectConnection } = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    return {
      route: routeCalls({
        ...{ ingest, receive, fastPath, memory, callers, bridged: this.#bridged, counters, reflection },
      }),
      inject: injectConnection,
      limits,
      counters,
      turns: new TurnScheduler(now),
      now,
    };
  }

  /** Binds and serves; rejects when it cannot listen on the address. */
  static async start(ingest: IngestState, options: ServerOptions): Promise<TelemetryServer> {
    const server = new TelemetryServer(ingest, options);
    try {
      server.#listener = await DeviceListener.listen(
        options,
        ingest.counters,
        server.#connections,
        (socket) => {
          ingest.counters.connectionsAccepted++;
          server.#accept(socket);
        },
      );
    } catch (error) {
      clearInterval(server.#checking);
      server.#ages.close();
      throw error;
    }
    return server;
  }

  /** TCP port bound. */
  get port(): number {
    return this.#listener.port;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** False while too few file descriptors are free for further connections. */
  get accepting(): boolean {
    return this.#listener.accepting;
  }

  /** Sets what `grpc.health.v1.Health` reports, of the server as a whole and of each service. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /** Stops listening and sends GOAWAY on every connection; resolves when every call has ended. */
  async endCalls(): Promise<void> {
    clearInterval(this.#checking);
    this.#ages.close();
    this.#health.close();
    this.#reflection.close();
    this.#listener.close();
    await Promise.all(Array.from(this.#connections.keys(), (connection) => connection.goAway()));
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  /** Waits until every connection is closed by its peer; destroys those that are still open after a second. */
  async closeConnections(): Promise<void> {
    const timer = setTimeout(() => this.destroy(), CLOSE_GRACE_MS);
    await Promise.all(
      Array.from(this.#connections.values(), (socket) => new Promise((close) => socket.once("close", close))),
    );
    clearTimeout(timer);
  }

  #accept(socket: Socket): void {
    const connection = new Http2Connection(socket, this.#connectionOptions);
    this.#connections.set(connection, socket);
    this.#ages.add(connection);
    socket.once("close", () => {
      this.#connections.delete(connection);
      this.#ages.remove(connection);
    });
  }

  /** Destroys all connections. */
  destroy(): void {
    for (const socket of this.#connections.values()) socket.destroy();
  }
}

/** Ends the streams of connections; returns those that still have one, because the store has to reply. */
function endStreams(
  { streams }: IngestState,
  peers: ReadonlySet<Peer>,
  error: RequestError,
): ReadonlySet<Peer> {
  // grpc-js names the peer of a call by its address and port.
  const nameOf = ({ remoteAddress, remotePort }: Peer) => `${remoteAddress} ${remotePort}`;
  const byName = new Map(Array.from(peers, (peer) => [nameOf(peer), peer]));
  const open = new Set<Peer>();
  for (const stream of [...streams]) {
    const { peer } = stream.context, ended = peers.has(peer) ? peer : byName.get(nameOf(peer));
    if (ended === undefined) continue;
    stream.fail(error);
    if (streams.has(stream)) open.add(ended);
  }
  return open;
}
