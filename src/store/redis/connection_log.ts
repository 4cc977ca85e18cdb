/**
 * What a connection to Redis logs: a line when its state changes, and fewer when it changes often.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

/** A connection that flaps logs so many lines at once, and one more each time this has passed. */
const LINES_AT_ONCE = 6, LINE_INTERVAL_MS = 10_000;

/** Of one connection. */
export class ConnectionLog {
  readonly #log: Logger;
  readonly #use: string;
  readonly #isOneOfMany: boolean;
  #logged: "connected" | "lost" | undefined;
  #lines = LINES_AT_ONCE;
  #lineAtMs = 0;
  #readOnlySinceMs: number | undefined;

  /** `use`: what the connection is for. `isOneOfMany`: that it is connected at first is not worth a line. */
  constructor(log: Logger, use: string, isOneOfMany: boolean) {
    this.#isOneOfMany = isOneOfMany;
    this.#log = log;
    this.#use = use;
  }

  /** Whether the server refused a write as a replica, and has not accepted one since. */
  get isReadOnly(): boolean {
    return this.#readOnlySinceMs !== undefined;
  }

  /** Whether the last line is that there is a connection. */
  get isConnected(): boolean {
    return this.#logged === "connected";
  }

  /** One line when the state changes; the next line has the state if there are too many. */
  report(state: "connected" | "lost", address: string, reason?: string): void {
    if (state === this.#logged || (this.isReadOnly && state === "connected")) return;
    const nowMs = performance.now();
    const earned = Math.floor((nowMs - this.#lineAtMs) / LINE_INTERVAL_MS);
    if (this.#lines + earned < 1) return;
    this.#lines = Math.min(this.#lines + earned, LINES_AT_ONCE) - 1;
    if (earned > 0 || this.#logged === undefined) this.#lineAtMs = nowMs;
    const isFirst = this.#logged === undefined;
    this.#logged = state;
    const about = { address, use: this.#use };
    if (state === "connected") {
      const level = isFirst && this.#isOneOfMany ? "debug" : "info";
      this.#log[level]("connected to Redis at {address} for {use}", about);
    } else {
      this.#log.warn("no connection to Redis at {address} for {use}, trying again: {reason}", {
        ...about,
        reason,
      });
    }
  }

  /** The server refused a write as a replica. */
  readOnly(address: string): void {
    if (this.isReadOnly) return;
    this.#readOnlySinceMs = performance.now();
    this.#log.warn("Redis at {address} is a replica that accepts no writes, reconnecting until it does", {
      address,
    });
  }

  /** The server accepted a write. */
  wrote(address: string): void {
    if (this.#readOnlySinceMs === undefined) return;
    const readOnlyMs = Math.round(performance.now() - this.#readOnlySinceMs);
    this.#readOnlySinceMs = undefined;
    this.#log.info("Redis at {address} accepts writes again", { address, readOnlyMs });
  }

  /** A password is set, and the server requires none. */
  needlessPassword(address: string): void {
    this.#log.debug("Redis at {address} has no password, but one is set", { address });
  }
}
