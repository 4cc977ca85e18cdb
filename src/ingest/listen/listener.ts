/**
 * The device port: accepts TCP connections up to a limit, and recovers when the process had no file descriptors for a
 * while.
 *
 * `node:net` of Deno 2.9.6 loses a listener that meets EMFILE: its accept loop ends without an error and without
 * registering a waker (`uv_compat/tcp.rs`). Calling `listen` of the listener's handle again restarts the loop and
 * changes nothing else; so that is done once a second. Some descriptors are reserved for the rest of the process; but
 * `node:net` accepts all pending connections before this code is called for the first of them, and files are opened
 * elsewhere too, so EMFILE can still occur.
 *
 * @module
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

import type { Logger } from "@logtape/logtape";

import { formatAddress } from "../../runtime/address.ts";
import type { DescriptorReserve } from "../../runtime/descriptors.ts";
import { ConnectionLimiter, type ConnectionLimitOptions } from "./connection_limits.ts";

/** Where a {@linkcode DeviceListener} listens, and its bounds. */
export interface ListenerOptions extends ConnectionLimitOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Other processes that set it too may listen on the same port; the system deals out connections. */
  readonly reusePort: boolean;
  /** With fewer file descriptors free than these, further connections are closed likewise; default: none. */
  readonly reserve?: DescriptorReserve;
  /** Receives a line when the port reaches a limit, and when there is room again. */
  readonly log: Logger;
}

/**
 * Connections that may wait to be accepted: a fleet that reconnects at once. The system caps it
 * (Linux: net.core.somaxconn, 4,096 since 5.4); the usual 511 makes the rest of 5,000 try again after
 * one second and more.
 */
const BACKLOG = 4096;

/** How often the accept loop is restarted, and free file descriptors are counted. */
const CHECK_INTERVAL_MS = 1000;

/** Connections accepted between two counts of the file descriptors: a burst may exceed the reserve by as many. */
const ACCEPTED_PER_CHECK = 512;

/** Time without a refused connection after which the log reports that connections are accepted again. */
const QUIET_MS = 3000;

/** Why a connection is refused. */
const SHORT = "too few file descriptors are left";

/** The open connections, in the order in which they were accepted; the owner of the connections keeps it. */
export type Connections = Pick<ReadonlyMap<unknown, Socket>, "size" | "values">;

/** A listening socket. */
export class DeviceListener {
  /** TCP port bound. */
  port = 0;
  readonly #server: Server;
  readonly #options: ListenerOptions;
  readonly #counters: { connectionsRefused: number };
  readonly #checking: ReturnType<typeof setInterval>;
  readonly #connections: Connections;
  readonly #limiter: ConnectionLimiter;
  #acceptedSinceCheck = 0;
  /** Too few file descriptors are free. */
  #short = false;
  /** When a connection was refused last; undefined after the log reported that connections are accepted again. */
  #limitedAtMs: number | undefined;

  private constructor(
    options: ListenerOptions,
    counters: { connectionsRefused: number },
    connections: Connections,
    accept: (socket: Socket) => void,
  ) {
    this.#options = options;
    this.#counters = counters;
    this.#connections = connections;
    this.#limiter = new ConnectionLimiter(options, () => performance.now());
    this.#server = createServer({ noDelay: true }, (socket) => this.#admit(socket, accept));
    this.#checking = setInterval(() => this.check(), CHECK_INTERVAL_MS);
  }

  /**
   * Binds, and passes each connection within the limits to `accept`, which adds it to `connections`; rejects when it
   * cannot listen on the address.
   */
  static async listen(
    options: ListenerOptions,
    counters: { connectionsRefused: number },
    connections: Connections,
    accept: (socket: Socket) => void,
  ): Promise<DeviceListener> {
    const listener = new DeviceListener(options, counters, connections, accept);
    try {
      listener.port = await bind(listener.#server, options);
    } catch (error) {
      clearInterval(listener.#checking);
      throw error;
    }
    return listener;
  }

  /** False while too few file descriptors are free for further connections. */
  get accepting(): boolean {
    return !this.#short;
  }

  /** Stops listening. */
  close(): void {
    clearInterval(this.#checking);
    this.#server.close();
    this.#limiter.close();
  }

  /** Counts free file descriptors and restarts the accept loop; called once a second. */
  check(): void {
    this.#checkDescriptors();
    this.#checkRoom();
    acceptAgain(this.#server);
  }

  #checkDescriptors(): void {
    const { reserve } = this.#options;
    this.#acceptedSinceCheck = 0;
    if (reserve === undefined) return;
    const free = reserve.count();
    this.#short = free < reserve.descriptors;
    if (this.#short) this.#limited(SHORT);
    // A burst has used descriptors that others need, for example the store's next connection: the latest are closed.
    if (free < reserve.descriptors / 2) this.#closeLatest(reserve.descriptors - free);
  }

  #closeLatest(count: number): void {
    for (const socket of [...this.#connections.values()].slice(-count)) {
      this.#counters.connectionsRefused++;
      socket.destroy();
    }
  }

  #admit(socket: Socket, accept: (socket: Socket) => void): void {
    if (++this.#acceptedSinceCheck >= ACCEPTED_PER_CHECK) this.#checkDescriptors();
    const open = this.#connections.size + this.#limiter.waiting;
    if (this.#short) return this.#refuse(socket, SHORT);
    if (open >= this.#options.maxConnections) return this.#refuse(socket, "TALLY_MAX_CONNECTIONS are open");
    const refusal = this.#limiter.admit(socket, () => accept(socket));
    if (refusal !== undefined) this.#refuse(socket, refusal);
  }

  #refuse(socket: Socket, reason: string): void {
    this.#counters.connectionsRefused++;
    socket.on("error", () => {});
    socket.destroy();
    this.#limited(reason);
  }

  #limited(reason: string): void {
    const { maxConnections, log } = this.#options;
    if (this.#limitedAtMs === undefined) {
      log.warn("devices are refused", { reason, connections: this.#connections.size, maxConnections });
    }
    this.#limitedAtMs = performance.now();
  }

  #checkRoom(): void {
    if (this.#limitedAtMs === undefined || performance.now() - this.#limitedAtMs < QUIET_MS) return;
    this.#limitedAtMs = undefined;
    const { connectionsRefused } = this.#counters;
    this.#options.log.info("devices are accepted again", {
      connections: this.#connections.size,
      connectionsRefused,
    });
  }
}

/** See the module's comment. */
function acceptAgain(server: Server): void {
  (server as unknown as { _handle?: { listen(backlog: number): number } | null })._handle?.listen(BACKLOG);
}

function bind(server: Server, { host, port, reusePort }: ListenerOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    // Never removed: an error event without a listener would end the process.
    server.on("error", (error) => {
      reject(
        new Error(`could not listen on ${formatAddress(host, port)}: ${error.message}`, { cause: error }),
      );
    });
    server.listen({ host, port, reusePort, backlog: BACKLOG }, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}
