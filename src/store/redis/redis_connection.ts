/**
 * A connection to Redis; with `sentinel_watch.ts` the only file that knows ioredis.
 *
 * Nothing is sent twice by the connection itself: a command whose reply is missing rejects, and its
 * caller decides.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";
import { Redis, type RedisOptions, ReplyError } from "ioredis";

import { Backoff } from "../../runtime/backoff.ts";
import { messageOf } from "../../runtime/error_text.ts";
import { withTimeout } from "../../runtime/timeout.ts";
import { StoreError } from "../store_error.ts";
import { shardKeys } from "./keys.ts";
import { type Endpoint, formatTarget, parseRedisUrl, type RedisTarget, type RedisUrl } from "./redis_url.ts";
import { disconnect, DISCONNECT_TIMEOUT_MS, SentinelWatch } from "./sentinel_watch.ts";
import { parseInfo } from "./server_info.ts";

/** An argument of a command. */
export type Argument = string | number | Buffer;

/** A command's name and arguments. */
export type Command = readonly [name: string, ...args: Argument[]];

/**
 * The command that runs a script. The script itself is sent each time, not its hash: Redis may have
 * flushed it, and sending it again would then follow the WAIT that was sent with it. It is 17 KB a flush.
 */
export function evalCommand(script: string, keys: readonly string[], args: readonly Argument[]): Command {
  return ["eval", script, keys.length, ...keys, ...args];
}

/** Bounds of the waits before the connection is made again. */
const FIRST_RETRY_MS = 50, MAX_RETRY_MS = 1000;

/** A connection that flaps logs so many lines at once, and one more each time this has passed. */
const LINES_AT_ONCE = 6, LINE_INTERVAL_MS = 10_000;

/** A server that refuses writes as a replica is connected to anew at most this often. */
const READONLY_RECONNECT_MS = 1000;

/** Where a connection leads, and how it behaves. */
export interface ConnectionOptions {
  /** See {@linkcode RedisUrl}. */
  readonly url: RedisUrl;
  /** Of the sentinels, if the URL names any and they require one. */
  readonly sentinelPassword?: string | undefined;
  /** Certificates, as PEM, of the authorities that `rediss://` trusts; default: those of the system. */
  readonly tlsCa?: string | undefined;
  /** Every command receives its reply within this time or rejects. */
  readonly commandTimeoutMs: number;
  /** Receives a line when the connection is lost and when it is back. */
  readonly log: Logger;
}

/** One connection that reconnects by itself; never queues, never resends. */
export class Connection {
  /** Where it leads; holds no credentials. */
  readonly address: string;
  /** Why the server cannot be used until its configuration or Tally's is changed; undefined if it can. */
  refusal: string | undefined;
  readonly #redis: Redis;
  readonly #use: string;
  readonly #log: Logger;
  readonly #target: RedisTarget;
  readonly #sentinels: SentinelWatch | undefined;
  readonly #firstOutcome = Promise.withResolvers<void>();
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS });
  /** Authenticated, and the database selected. */
  #usable = false;
  #connections = 0;
  #lastError: Error | undefined;
  #logged: "connected" | "lost" | undefined;
  #lines = LINES_AT_ONCE;
  #lineAtMs = 0;
  #readOnlySinceMs: number | undefined;
  #reconnectedAtMs = -Infinity;

  /**
   * Begins to connect: to the server of the URL, or to the master that `sentinels` name. `use` names it in logs and in
   * CLIENT LIST.
   */
  constructor(connection: ConnectionOptions, use: string, sentinels?: SentinelWatch) {
    const { url, commandTimeoutMs, log } = connection;
    this.#use = use;
    this.#log = log;
    const target = parseRedisUrl(url);
    if (target === undefined) {
      throw new StoreError("could not use the URL of Redis: it has none of the forms");
    }
    this.#target = target;
    this.#sentinels = sentinels;
    this.address = formatTarget(target);
    const tls = tlsOptions(target, connection);
    const redis = this.#redis = new Redis({
      ...target.endpoints[0]!,
      ...(tls === undefined ? {} : { tls }),
      lazyConnect: sentinels !== undefined,
      // Authentication and SELECT are done here: ioredis would continue after a refused SELECT, in
      // database 0, and logs some refusals itself.
      protocol: 2 as const,
      enableReadyCheck: false,
      disableClientInfo: true,
      // A command is sent now or rejects now. The offline queue is unbounded, and the caller decides what is
      // sent again.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      // Zero: commands in flight reject as soon as their connection is lost.
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      connectTimeout: commandTimeoutMs,
      // A connection without replies is closed: what is written to it would pile up.
      socketTimeout: commandTimeoutMs,
      disconnectTimeout: DISCONNECT_TIMEOUT_MS,
      retryStrategy: () => this.#backoff.failed(),
      // After a failover the old master is a replica: connect anew, without resending.
      reconnectOnError: (error: Error) => error.message.startsWith("READONLY") && this.#leavesReplica(),
    });
    redis.on("error", (error) => this.#lost(error));
    redis.on("close", () => {
      this.#usable = false;
      this.#firstOutcome.resolve();
    });
    redis.on("ready", () => void this.#signIn());
    sentinels?.follow((master) => this.#connectTo(master));
  }

  /** Connects to `master`, and leaves the server it is connected to. */
  #connectTo(master: Endpoint): void {
    const redis = this.#redis;
    if (redis.status === "end") return;
    Object.assign(redis.options, master); // Read at each attempt to connect.
    if (redis.status === "wait") redis.connect().catch(() => {}); // It tries again by itself.
    else redis.disconnect(true);
  }

  /** Resolves when the first attempt to connect has succeeded or failed, or after `timeoutMs`. */
  async firstAttempt(timeoutMs: number): Promise<void> {
    await withTimeout(timeoutMs, this.#firstOutcome.promise, () => {});
  }

  /** Sets up a new connection. All commands are sent in one tick; nothing else is sent before they succeed. */
  async #signIn(): Promise<void> {
    const connection = ++this.#connections;
    const redis = this.#redis;
    const { username, password, database } = this.#target;
    const call = (name: string, ...args: Argument[]) => redis.call(name, args).then(String);
    const allowedToFail = (reply: Promise<string>) => reply.catch(() => "");
    const signedIn = password === undefined
      ? undefined
      : call("auth", ...(username ? [username] : []), password).catch((error) =>
        this.#withoutPassword(error)
      );
    // In capitals, or else ioredis selects the database again by itself, and ignores a refusal.
    const selected = database === 0 ? undefined : call("SELECT", database).then(() => undefined, messageOf);
    // Users may lack the permission for these.
    const named = allowedToFail(call("client", "setname", `tally-${this.#use}`));
    const info = allowedToFail(call("info", "server"));
    const role = this.#target.master === undefined ? "" : allowedToFail(call("info", "replication"));
    // A server that loads its data, requires a password or belongs to a cluster refuses this.
    const probed = call("get", shardKeys().probe).then(() => undefined, messageOf);
    let problem: string | undefined, refusal: string | undefined;
    try {
      await Promise.all([signedIn, named]);
      const found = await probed, refusedSelect = await selected;
      const isCluster = parseInfo(await info).isCluster ||
        /^(MOVED|CLUSTERDOWN|CROSSSLOT) /.test(found ?? "");
      if (isCluster) {
        refusal = "it is part of a Redis Cluster, found by INFO or its replies; " +
          "Tally needs a single Redis, or a primary with replicas";
      } else if (refusedSelect !== undefined && !/^(LOADING|NOAUTH)/.test(refusedSelect)) {
        refusal = `it refused SELECT ${database}: ${refusedSelect}; name a database that exists`;
      }
      problem = refusal ?? (found === undefined ? undefined : `it replied ${found}`);
      if (parseInfo(await role).isReplica) {
        problem = "it is a replica, found by INFO: waiting for the sentinels to name the master";
      }
    } catch (error) {
      problem = error instanceof ReplyError ? `it replied ${messageOf(error)}` : messageOf(error);
    }
    if (connection !== this.#connections || redis.status !== "ready") return;
    this.refusal = refusal;
    if (problem === undefined) this.#connected();
    else {
      this.#lost(new Error(problem));
      redis.disconnect(true);
    }
    this.#firstOutcome.resolve();
  }

  /** A server without a password accepts every client. */
  #withoutPassword(error: Error): void {
    if (!/no password is set|without any password configured/.test(error.message)) throw error;
    this.#log.debug("Redis at {address} has no password, but one is set", { address: this.address });
  }

  #connected(): void {
    this.#usable = true;
    this.#backoff.succeeded();
    this.#lastError = undefined;
    this.#report("connected");
  }

  #lost(error: Error): void {
    this.#lastError = error;
    this.#report("lost");
  }

  /** One line when the state changes; fewer when it changes often: the next line has the state. */
  #report(state: "connected" | "lost"): void {
    if (state === this.#logged || (this.#readOnlySinceMs !== undefined && state === "connected")) return;
    const nowMs = performance.now();
    const earned = Math.floor((nowMs - this.#lineAtMs) / LINE_INTERVAL_MS);
    if (this.#lines + earned < 1) return;
    this.#lines = Math.min(this.#lines + earned, LINES_AT_ONCE) - 1;
    if (earned > 0 || this.#logged === undefined) this.#lineAtMs = nowMs;
    this.#logged = state;
    const about = { address: this.address, use: this.#use };
    if (state === "connected") this.#log.info("connected to Redis at {address} for {use}", about);
    else {
      const reason = this.#lastError?.message;
      this.#log.warn("no connection to Redis at {address} for {use}, trying again: {reason}", {
        ...about,
        reason,
      });
    }
  }

  /** Whether to connect anew because the server is a replica, as it is after a failover. */
  #leavesReplica(): boolean {
    const nowMs = performance.now();
    if (this.#readOnlySinceMs === undefined) {
      this.#readOnlySinceMs = nowMs;
      this.#log.warn("Redis at {address} is a replica that accepts no writes, reconnecting until it does", {
        address: this.address,
      });
    }
    if (nowMs - this.#reconnectedAtMs < READONLY_RECONNECT_MS) return false;
    this.#reconnectedAtMs = nowMs;
    return true;
  }

  #wrote(): void {
    const readOnlyMs = Math.round(performance.now() - this.#readOnlySinceMs!);
    this.#readOnlySinceMs = undefined;
    this.#log.info("Redis at {address} accepts writes again", { address: this.address, readOnlyMs });
  }

  /**
   * Sends commands and resolves to their replies; strings are Buffers. All are sent in one tick, because
   * after a reconnection in between, a WAIT at the end would be about a connection that wrote nothing.
   */
  async send(attempt: string, ...commands: readonly Command[]): Promise<readonly unknown[]> {
    try {
      if (!this.#usable) throw new Error("not connected");
      const replies = await Promise.all(
        commands.map(([name, ...args]) => this.#redis.callBuffer(name, args)),
      );
      if (this.#readOnlySinceMs !== undefined && commands[0]![0] !== "info") this.#wrote();
      if (this.#logged !== "connected") this.#report("connected");
      return replies;
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

  /** Ends the connection; commands in flight reject. */
  async close(): Promise<void> {
    await disconnect(this.#redis);
  }

  #reason(error: unknown): string {
    const message = messageOf(error);
    if (error instanceof ReplyError) return `it replied ${message}`;
    if (this.#usable && this.#redis.status === "ready") return message;
    // The message of ioredis is then only about its own settings.
    const reason = this.#lastError?.message ??
      ({ end: "closed", wait: this.#sentinels?.failure }[this.#redis.status as string] ?? "just lost");
    return `there is no connection (${reason})`;
  }
}

/** The TLS options of connections to the servers; undefined: no TLS. */
function tlsOptions({ tls }: RedisTarget, { tlsCa }: ConnectionOptions): RedisOptions["tls"] {
  return tls ? { ...(tlsCa === undefined ? {} : { ca: tlsCa }) } : undefined;
}

/** Watches the sentinels of the URL, if it has any. */
export function watchSentinels(connection: ConnectionOptions): SentinelWatch | undefined {
  const target = parseRedisUrl(connection.url);
  if (target?.master === undefined) return undefined;
  const { endpoints, master } = target;
  const { sentinelPassword: password, commandTimeoutMs } = connection;
  return new SentinelWatch({
    endpoints,
    master,
    password,
    tls: tlsOptions(target, connection),
    commandTimeoutMs,
  });
}

/** ioredis puts a failed command's arguments on the error: payloads, which must not reach a log. */
function withoutCommand(error: unknown): unknown {
  if (error instanceof Error && "command" in error) delete error.command;
  return error;
}
