/**
 * A connection to Redis. With `redis_options.ts`, `sentinel_watch.ts` and `cluster_watch.ts` the only files that know
 * ioredis.
 *
 * Nothing is sent twice by the connection itself unless the server replied that it did not execute it, as nodes of a
 * cluster do while a slot moves: a command whose reply is missing rejects, and its caller decides.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";
import { Redis, ReplyError } from "ioredis";

import { formatAddress } from "../../runtime/address.ts";
import type { Backoff } from "../../runtime/backoff.ts";
import { messageOf } from "../../runtime/error_text.ts";
import { withTimeout } from "../../runtime/timeout.ts";
import { StoreError } from "../store_error.ts";
import { parseSlots } from "./cluster_slots.ts";
import { ConnectionLog } from "./connection_log.ts";
import { type Argument, type Command, evalCommand, ScriptHashes } from "./redis_command.ts";
import {
  authenticate,
  disconnect,
  type MasterFinder,
  MAX_RETRY_MS,
  redisOptions,
  type ServerOptions,
} from "./redis_options.ts";
import { type Endpoint, formatTarget, type RedisTarget } from "./redis_url.ts";
import { parseInfo } from "./server_info.ts";

/** A server that refuses writes as a replica is connected to anew at most this often. */
const READONLY_RECONNECT_MS = 1000;

/** The longest wait before a node of a cluster is connected to again: another may have become the master meanwhile. */
const MAX_CLUSTER_RETRY_MS = 250;

/** Bounds of the waits before a command is sent again that a node did not execute. */
const FIRST_REPEAT_MS = 10, MAX_REPEAT_MS = 80;

/** A node of a cluster replies one of these to a command that it did not execute, as its slot is elsewhere or moves. */
const NOT_EXECUTED = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN) /;

/** Replies that show that a node of a cluster is not, or no longer, the master of a slot. */
const NOT_MASTER = /^(MOVED|CLUSTERDOWN|READONLY|MASTERDOWN|LOADING) /;

/** Where a connection leads, and how it behaves. */
export interface ConnectionOptions extends ServerOptions {
  /** Receives a line when the connection is lost and when it is back. */
  readonly log: Logger;
}

/** What one connection is for. */
export interface ConnectionUse {
  /** Names it in logs and, with hyphens in place of spaces, in CLIENT LIST. */
  readonly use: string;
  /** A key that it uses: reading it shows whether the server serves the keys of this connection. */
  readonly probeKey: string;
  /** One of those of many shards. */
  readonly isOneOfMany: boolean;
  /** Names the server, if that is not the one of the URL. */
  readonly finder?: MasterFinder | undefined;
}

/** One connection that reconnects by itself; never queues. */
export class Connection {
  /** Why the server cannot be used until its configuration or Tally's is changed; undefined if it can. */
  refusal: string | undefined;
  readonly #redis: Redis;
  readonly #use: ConnectionUse;
  readonly #log: ConnectionLog;
  readonly #target: RedisTarget;
  readonly #options: ConnectionOptions;
  readonly #firstOutcome = Promise.withResolvers<void>();
  readonly #backoff: Backoff;
  /** Authenticated, and the database selected. */
  #usable = false;
  #connections = 0;
  #lastError: Error | undefined;
  readonly #scripts = new ScriptHashes();
  #reconnectedAtMs = -Infinity;
  readonly #unfollow: (() => void) | undefined;

  /** Begins to connect: to the server of `target`, or to the one that the finder names. */
  constructor(target: RedisTarget, connection: ConnectionOptions, use: ConnectionUse) {
    this.#use = use;
    this.#target = target;
    this.#options = connection;
    this.#log = new ConnectionLog(connection.log, use.use, use.isOneOfMany);
    const maxRetryMs = target.cluster ? MAX_CLUSTER_RETRY_MS : MAX_RETRY_MS;
    const { options, backoff } = redisOptions(target.endpoints[0]!, target, connection, maxRetryMs);
    this.#backoff = backoff;
    const redis = this.#redis = new Redis({
      ...options,
      lazyConnect: use.finder !== undefined,
      // After a failover the old master is a replica: connect anew, without resending.
      reconnectOnError: (error: Error) => error.message.startsWith("READONLY") && this.#leavesReplica(),
    });
    redis.on("error", (error) => this.#lost(error));
    redis.on("close", () => {
      if (this.#usable) this.#use.finder?.failed("connection lost", this.#server());
      this.#usable = false;
      this.#scripts.reset();
      this.#firstOutcome.resolve();
    });
    redis.on("ready", () => void this.#signIn());
    this.#unfollow = use.finder?.follow((master) => this.#connectTo(master));
  }

  /** Where it leads; holds no credentials. */
  get address(): string {
    if (!this.#target.cluster) return formatTarget(this.#target);
    const { host, port } = this.#server();
    return formatAddress(host, port);
  }

  /** The server that it connects to. */
  #server(): Endpoint {
    const { host, port } = this.#redis.options;
    return { host: host!, port: port! };
  }

  /** Connects to `master`, and leaves the server it is connected to. */
  #connectTo(master: Endpoint): void {
    const redis = this.#redis;
    if (redis.status === "end") return;
    Object.assign(redis.options, master); // Read at each attempt to connect.
    if (redis.status === "wait") redis.connect().catch(() => {}); // It tries again by itself.
    else if (redis.status !== "reconnecting" && redis.status !== "close") redis.disconnect(true);
  }

  /** Resolves when the first attempt to connect has succeeded or failed, or after `timeoutMs`. */
  async firstAttempt(timeoutMs: number): Promise<void> {
    await withTimeout(timeoutMs, this.#firstOutcome.promise, () => {});
  }

  /** Sets up a new connection. All commands are sent in one tick; nothing else is sent before they succeed. */
  async #signIn(): Promise<void> {
    const connection = ++this.#connections;
    const redis = this.#redis;
    const { database, cluster, master } = this.#target;
    const call = (name: string, ...args: Argument[]) => redis.call(name, args).then(String);
    const allowedToFail = (reply: Promise<string>) => reply.catch(() => "");
    const signedIn = authenticate(redis, this.#target);
    // In capitals, or else ioredis selects the database again by itself, and ignores a refusal.
    const selected = database === 0 ? undefined : call("SELECT", database).then(() => undefined, messageOf);
    // Users may lack the permission for these.
    const name = `tally-${this.#use.use.replaceAll(" ", "-")}`;
    const named = allowedToFail(call("client", "setname", name));
    const info = cluster ? "" : allowedToFail(call("info", "server"));
    const role = master === undefined ? "" : allowedToFail(call("info", "replication"));
    // A server that loads its data, requires a password or belongs to a cluster refuses this.
    const probed = call("get", this.#use.probeKey).then(() => undefined, messageOf);
    let problem: string | undefined, refusal: string | undefined;
    try {
      const [hasPassword] = await Promise.all([signedIn, named]);
      if (!hasPassword) this.#log.needlessPassword(this.address);
      const found = await probed, refusedSelect = await selected;
      // The slot is being migrated from here, and the key does not exist: the node still serves the slot.
      const isRefused = found !== undefined && !(cluster && found.startsWith("ASK "));
      if (
        !cluster && (parseInfo(await info).isCluster || /^(MOVED|CLUSTERDOWN|CROSSSLOT) /.test(found ?? ""))
      ) {
        refusal = `it is part of a Redis Cluster, found by INFO or its replies; ${await this.#clusterUrl()}`;
      } else if (refusedSelect !== undefined && !/^(LOADING|NOAUTH)/.test(refusedSelect)) {
        refusal = `it refused SELECT ${database}: ${refusedSelect}; name a database that exists`;
      }
      problem = refusal ?? (isRefused ? `it replied ${found}` : undefined);
      if (isRefused) this.#use.finder?.failed(found, this.#server());
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

  /** What to set REDIS_URL to, of a server that belongs to a cluster. */
  async #clusterUrl(): Promise<string> {
    const { tls, username, password, endpoints } = this.#target;
    const masters = await this.#redis.call("cluster", "slots")
      .then((reply) => parseSlots(reply, this.#server(), this.#options.natMap).map(({ master }) => master))
      .catch(() => []);
    const nodes = new Set(
      [...endpoints, ...masters].map(({ host, port }) => formatAddress(host, port)),
    );
    const credentials = username === undefined && password === undefined
      ? ""
      : ", with user and password of the present URL before the first host";
    return `set REDIS_URL=redis${tls ? "s" : ""}+cluster://${[...nodes].join(",")}${credentials}`;
  }

  #connected(): void {
    this.#usable = true;
    this.#backoff.succeeded();
    this.#lastError = undefined;
    this.#log.report("connected", this.address);
  }

  #lost(error: Error): void {
    this.#lastError = error;
    this.#log.report("lost", this.address, error.message);
    this.#use.finder?.failed(error.message, this.#server());
  }

  /** Whether to connect anew because the server is a replica, as it is after a failover. */
  #leavesReplica(): boolean {
    const nowMs = performance.now();
    this.#log.readOnly(this.address);
    if (nowMs - this.#reconnectedAtMs < READONLY_RECONNECT_MS) return false;
    this.#reconnectedAtMs = nowMs;
    return true;
  }

  /**
   * Sends commands and resolves to their replies; strings are Buffers. All are sent in one tick, because
   * after a reconnection in between, a WAIT at the end would be about a connection that wrote nothing. All are sent
   * again when the server replies that it did not execute one of them, so the others must have the same effect when they
   * are executed twice.
   */
  async send(attempt: string, ...commands: readonly Command[]): Promise<readonly unknown[]> {
    const deadlineMs = performance.now() + this.#options.commandTimeoutMs;
    for (let waitMs = FIRST_REPEAT_MS, notExecuted: unknown;; waitMs = Math.min(2 * waitMs, MAX_REPEAT_MS)) {
      try {
        if (!this.#usable) throw notExecuted ?? new Error("not connected");
        const replies = this.#sendNow(commands);
        if (notExecuted === undefined) return await replies;
        return await withTimeout(deadlineMs - performance.now(), replies, () => {
          throw new Error("Command timed out");
        });
      } catch (error) {
        const message = messageOf(error);
        if (this.#usable && NOT_MASTER.test(message)) this.#use.finder?.failed(message, this.#server());
        if (this.#scripts.rejects(message)) continue;
        if (!NOT_EXECUTED.test(message) || performance.now() + waitMs > deadlineMs) {
          throw this.failure(attempt, this.#reason(error), withoutCommand(error));
        }
        notExecuted = error;
      }
      await delay(waitMs);
    }
  }

  async #sendNow(commands: readonly Command[]): Promise<readonly unknown[]> {
    const replies = await Promise.all(
      commands.map((command) => {
        const [name, ...args] = this.#scripts.shortened(command);
        return this.#redis.callBuffer(name, args);
      }),
    );
    if (this.#log.isReadOnly && commands[0]![0] !== "info") this.#log.wrote(this.address);
    if (!this.#log.isConnected) this.#log.report("connected", this.address);
    return replies;
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
    this.#unfollow?.();
    await disconnect(this.#redis);
  }

  #reason(error: unknown): string {
    const message = messageOf(error);
    if (error instanceof ReplyError) return `it replied ${message}`;
    // Without a connection, the message of ioredis is only about its own settings; so is this one before it reports the loss.
    const isLost = !this.#usable || this.#redis.status !== "ready" || message.includes("enableOfflineQueue");
    if (!isLost) return message;
    const reason = this.#lastError?.message ??
      ({ end: "closed", wait: this.#use.finder?.failure() }[this.#redis.status as string] ?? "just lost");
    return `there is no connection (${reason})`;
  }
}

/** ioredis puts a failed command's arguments on the error: payloads, which must not reach a log. */
function withoutCommand(error: unknown): unknown {
  if (error instanceof Error && "command" in error) delete error.command;
  return error;
}
