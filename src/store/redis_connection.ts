/**
 * A connection to Redis; the only file that knows ioredis.
 *
 * Nothing is sent twice by the connection itself: a command whose reply is missing rejects, and its
 * caller decides.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";
import { Redis, ReplyError } from "ioredis";

import { StoreError } from "./store.ts";

/** `redis://[user:password@]host[:port][/database]`, `rediss://…` for TLS, or host and port. */
export type RedisUrl = string | { readonly host: string; readonly port: number };

/** An argument of a command. */
export type Argument = string | number | Buffer;

/** A command's name and arguments. */
export type Command = readonly [name: string, ...args: Argument[]];

/**
 * The command that runs a script. The script itself is sent each time, not its hash: Redis may have
 * forgotten it, and sending it then would come behind the WAIT that was sent with it. It is 14 KB a flush.
 */
export function evalCommand(script: string, keys: readonly string[], args: readonly Argument[]): Command {
  return ["eval", script, keys.length, ...keys, ...args];
}

/** How long a connection that is closed may take to send what was written to it. */
const DISCONNECT_TIMEOUT_MS = 100;

/** One connection that comes back by itself; never queues, never resends. */
export class Connection {
  /** Where it leads; holds no credentials. */
  readonly address: string;
  readonly #redis: Redis;
  #lastError: Error | undefined;

  /**
   * Begins to connect. `use` tells it from others in logs and in CLIENT LIST; every command is answered
   * within `commandTimeoutMs` or rejects.
   */
  constructor(url: RedisUrl, use: string, commandTimeoutMs: number, log: Logger) {
    const options = {
      connectionName: `tally-${use}`,
      // A command is sent now or rejects now. The offline queue is unbounded, and resending is for the
      // caller, who knows what may be sent twice.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      // Zero: commands under way reject as soon as their connection is lost.
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      connectTimeout: commandTimeoutMs,
      // A silent connection is given up: what was written to it would pile up behind it.
      socketTimeout: commandTimeoutMs,
      disconnectTimeout: DISCONNECT_TIMEOUT_MS,
      maxLoadingRetryTime: 500,
      retryStrategy: (attempt: number) => Math.min(25 * 2 ** attempt, 1000) * (0.5 + Math.random() / 2),
      // After a failover the old master is a replica: connect anew, without resending.
      reconnectOnError: (error: Error) => error.message.includes("READONLY"),
    };
    const redis = this.#redis = typeof url === "string"
      ? new Redis(url, options)
      : new Redis({ ...options, host: url.host, port: url.port });
    const { path, host, port, db } = redis.options;
    this.address = (path ?? `${host}:${port}`) + (db ? ` database ${db}` : "");

    const about = { address: this.address, use };
    redis.on("error", (error) => {
      // One line per outage: the attempts that follow fail for the same reason.
      if (this.#lastError === undefined) {
        log.warn("no connection to Redis at {address} for {use}, trying again: {reason}", {
          ...about,
          reason: error.message,
        });
      }
      this.#lastError = error;
    });
    redis.on("ready", () => {
      this.#lastError = undefined;
      log.info("connected to Redis at {address} for {use}", about);
    });
  }

  /** Resolves when the first attempt to connect has succeeded or failed, or after `timeoutMs`. */
  async firstAttempt(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#redis.once("ready", resolve).once("close", resolve);
    await promise;
    clearTimeout(timer);
    this.#redis.off("ready", resolve).off("close", resolve);
  }

  /**
   * Sends commands and resolves to their replies; strings are Buffers. All are sent in one turn, because
   * a reconnection in between would let a WAIT at the end answer for a connection that wrote nothing.
   */
  async send(attempt: string, ...commands: readonly Command[]): Promise<readonly unknown[]> {
    try {
      return await Promise.all(commands.map(([name, ...args]) => this.#redis.callBuffer(name, args)));
    } catch (error) {
      throw this.failure(attempt, this.#reason(error), withoutCommand(error));
    }
  }

  /** Runs a script; resolves to its reply. */
  async evaluate(
    attempt: string,
    script: string,
    keys: readonly string[],
    args: readonly Argument[],
  ): Promise<unknown> {
    const [reply] = await this.send(attempt, evalCommand(script, keys, args));
    return reply;
  }

  /** What to throw when `attempt` failed. */
  failure(attempt: string, reason: string, cause?: unknown): StoreError {
    return new StoreError(`could not ${attempt} on Redis at ${this.address}: ${reason}`, { cause });
  }

  /** Ends the connection; commands under way reject. */
  async close(): Promise<void> {
    const redis = this.#redis;
    if (redis.status === "end") return;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    // Between two attempts there is no connection that could end; ioredis still waits for it to.
    if (redis.status === "reconnecting") setTimeout(resolve, DISCONNECT_TIMEOUT_MS);
    else redis.once("end", resolve);
    redis.disconnect();
    await ended;
  }

  #reason(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof ReplyError) return `it answered ${message}`;
    if (this.#redis.status === "ready") return message;
    // ioredis then only tells of its own settings.
    const reason = this.#lastError?.message ?? (this.#redis.status === "end" ? "closed" : "just lost");
    return `there is no connection (${reason})`;
  }
}

/** ioredis puts a failed command's arguments on the error: payloads, which must not reach a log. */
function withoutCommand(error: unknown): unknown {
  if (error instanceof Error && "command" in error) delete error.command;
  return error;
}
