/**
 * Limits of new connections: how many an address may have, and how many the process serves in a second.
 *
 * A connection above the rate waits instead of being closed: a fleet that reconnects at once is served in order and
 * needs no second attempt, and until its turn a connection costs a file descriptor and some 6 KB, not a handshake.
 * Addresses take turns, so that one that opens thousands delays the others little. What would wait for longer than
 * {@linkcode MAX_WAIT_SECONDS} is closed.
 *
 * @module
 */
import type { Socket } from "node:net";

import { TokenBucket } from "../../http2/token_bucket.ts";
import { limitOfAddress, type ShareLimit } from "../../limits/per_address.ts";
import { networkOf } from "../../runtime/network.ts";

/** See the module; 0 and undefined: no limit. */
export interface ConnectionLimitOptions {
  /** Connections open at once in all. */
  readonly maxConnections: number;
  /** Of one address, or IPv6 /64. */
  readonly maxConnectionsPerAddress?: ShareLimit;
  /** Connections that are served in a second; five times as many at once. */
  readonly newConnectionsPerSecond?: number;
}

/** Connections that may be served at once after a quiet time, in seconds of the rate: a fleet that reconnects. */
const BURST_SECONDS = 5;

/** Longest wait of a connection for its turn, seconds. */
const MAX_WAIT_SECONDS = 5;

/** How often waiting connections are served. */
const TURN_MS = 20;

/** A connection for its turn. */
interface Waiting {
  readonly socket: Socket;
  readonly accept: () => void;
}

/** Of one listener. */
export class ConnectionLimiter {
  /** Connections that wait for their turn. */
  waiting = 0;
  readonly #options: ConnectionLimitOptions;
  readonly #bucket: TokenBucket | undefined;
  readonly #maxWaiting: number;
  readonly #open = new Map<string, number>();
  /** By address; the one whose turn is next comes first. */
  readonly #queues = new Map<string, Waiting[]>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** `now`: monotonic clock, ms. */
  constructor(options: ConnectionLimitOptions, now: () => number) {
    const { newConnectionsPerSecond: rate = 0 } = options;
    this.#options = options;
    this.#bucket = rate === 0 ? undefined : new TokenBucket(BURST_SECONDS * rate, rate, now);
    this.#maxWaiting = MAX_WAIT_SECONDS * rate;
  }

  /**
   * Counts the connection until it is closed, and calls `accept` when it is its turn: now, as a rule. Returns why it is
   * refused; undefined: it is not.
   */
  admit(socket: Socket, accept: () => void): string | undefined {
    const { maxConnections, maxConnectionsPerAddress = "auto" } = this.#options;
    const address = networkOf(socket.remoteAddress ?? ""), open = this.#open.get(address) ?? 0;
    const limit = limitOfAddress(maxConnectionsPerAddress, maxConnections, address);
    if (open >= limit) {
      return `TALLY_MAX_CONNECTIONS_PER_ADDRESS (${limit}) are open from ${address}`;
    }
    const isServed = this.#bucket === undefined || (this.waiting === 0 && this.#bucket.take());
    if (!isServed && this.waiting >= this.#maxWaiting) {
      return `more than TALLY_NEW_CONNECTIONS_PER_SECOND (${this.#options.newConnectionsPerSecond}) are opened`;
    }
    this.#open.set(address, open + 1);
    socket.once("close", () => this.#closed(address));
    if (isServed) accept();
    else this.#wait(address, { socket, accept });
    return undefined;
  }

  /** Closes the connections that wait. */
  close(): void {
    clearInterval(this.#timer);
    for (const queue of this.#queues.values()) for (const { socket } of queue) socket.destroy();
    this.#queues.clear();
    this.waiting = 0;
  }

  #closed(address: string): void {
    const open = this.#open.get(address)! - 1;
    if (open === 0) this.#open.delete(address);
    else this.#open.set(address, open);
  }

  #wait(address: string, waiting: Waiting): void {
    waiting.socket.on("error", () => {}); // "close" follows
    const queue = this.#queues.get(address);
    if (queue === undefined) this.#queues.set(address, [waiting]);
    else queue.push(waiting);
    this.waiting++;
    this.#timer ??= setInterval(() => this.#serve(), TURN_MS);
  }

  #serve(): void {
    while (this.waiting > 0) {
      const [address, queue] = this.#queues.entries().next().value!;
      const { socket, accept } = queue[0]!;
      // One that was closed meanwhile costs nothing.
      if (!socket.destroyed && !this.#bucket!.take()) return;
      queue.shift();
      this.waiting--;
      // To the end of the addresses.
      this.#queues.delete(address);
      if (queue.length > 0) this.#queues.set(address, queue);
      if (!socket.destroyed) accept();
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
