/**
 * Counts in Redis; the only file that knows ioredis. What is kept is named in `keys.ts`, and written by
 * two scripts, each one atomic step: `apply.lua` and `claim.lua`.
 *
 * Nothing is sent twice by the connection itself: a command whose reply is missing rejects, and its
 * caller decides.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";
import { Redis, ReplyError } from "ioredis";

import applyScript from "./apply.lua" with { type: "text" };
import claimScript from "./claim.lua" with { type: "text" };
import { countsKey, devicesKey, probeKey, producerKey, sessionKey } from "./keys.ts";
import { packDevices, readRecord } from "./records.ts";
import {
  type AckAfter,
  type Batch,
  type DeviceCount,
  type DeviceState,
  type DeviceSummary,
  type FencedSessions,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionClaim,
  type Store,
  StoreError,
} from "./store.ts";

/** Where Redis is, and how it is used. */
export interface RedisStoreOptions {
  /** `redis://[user:password@]host[:port][/database]`, `rediss://…` for TLS, or host and port. */
  readonly url: string | { readonly host: string; readonly port: number };
  /** What `apply` waits for. */
  readonly ackAfter: AckAfter;
  /** Every command is answered within this time or rejects. */
  readonly commandTimeoutMs: number;
  /** Told when a connection is lost and when it is back. */
  readonly log: Logger;
}

/**
 * A store on the Redis at `url`. Resolves also when Redis cannot be reached: it is then tried again for
 * ever, and every method rejects until it answers.
 *
 * @throws {StoreError} Redis answers, but cannot do what `ackAfter` asks.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const store = new RedisStore(options);
  await store.connected(options.commandTimeoutMs);
  const info = await store.info().catch(() => undefined);
  if (info !== undefined) {
    try {
      store.check(info);
    } catch (refusal) {
      await store.close();
      throw refusal;
    }
  }
  return store;
}

const deviceScript = "return { redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1]) }";
const removeScript = "redis.call('HDEL', KEYS[2], ARGV[1]) return redis.call('HDEL', KEYS[1], ARGV[1])";

/** Devices asked for in one HSCAN. */
const SCAN_COUNT = 1000;

class RedisStore implements Store {
  readonly description: string;
  readonly #address: string;
  /** WAIT holds its connection up, so readers have one of their own. */
  readonly #writes: Connection;
  readonly #reads: Connection;
  readonly #ackAfter: AckAfter;
  readonly #durabilityTimeoutMs: number;
  readonly #log: Logger;
  #checked = false;

  constructor({ url, ackAfter, commandTimeoutMs, log }: RedisStoreOptions) {
    this.#ackAfter = ackAfter;
    // Half for the replicas or the disk; half for the script before, and the way there and back.
    this.#durabilityTimeoutMs = Math.max(1, Math.floor(commandTimeoutMs / 2));
    this.#log = log;
    this.#writes = new Connection(url, "writes", commandTimeoutMs, log);
    this.#reads = new Connection(url, "reads", commandTimeoutMs, log);
    this.#address = this.#writes.address;
    this.description = `Redis at ${this.#address}`;
  }

  async connected(timeoutMs: number): Promise<void> {
    await Promise.all([this.#writes.firstAttempt(timeoutMs), this.#reads.firstAttempt(timeoutMs)]);
  }

  async ping(): Promise<void> {
    await this.#checkOnce();
    await this.#writes.run("write a probe", (redis) => redis.set(probeKey, "", "PX", 1));
  }

  async claimSession(session: string, offset: number): Promise<SessionClaim> {
    const [epoch, committed] = await this.#writes.run(
      `claim session ${session}`,
      (redis) => evaluate(redis, claimScript, [sessionKey(session)], [offset, SESSION_EXPIRY_MS]),
    ) as [number, number];
    return epoch === 0 ? { outcome: "gap", committed } : { outcome: "claimed", epoch, committed };
  }

  async apply(batch: Batch): Promise<FencedSessions> {
    await this.#checkOnce();
    const keys = [countsKey, devicesKey, producerKey(batch.producer)];
    const args: (string | number | Buffer)[] = [
      batch.sequence,
      batch.receivedAtMs,
      PRODUCER_EXPIRY_MS,
      SESSION_EXPIRY_MS,
      packDevices(batch.devices),
    ];
    for (const { session, epoch, from, to } of batch.sessions) {
      keys.push(sessionKey(session));
      args.push(`${epoch} ${from}`, `${epoch} ${to}`);
    }
    const fenced = await this.#writes.run(
      `apply a batch of ${batch.devices.length} devices and ${batch.sessions.length} sessions`,
      (redis) => evaluate(redis, applyScript, keys, args, () => this.#durable(redis)),
    ) as number[];
    return fenced.map((index) => batch.sessions[index]!.session);
  }

  // CONTRACT STUBS
  async *scan(): AsyncGenerator<readonly DeviceSummary[]> {
    for await (const page of this.counts()) {
      yield page.map((c) => ({ ...c, firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true }));
    }
  }
  summaries(): Promise<never> {
    throw new Error("soon");
  }
  changes(): Promise<never> {
    throw new Error("soon");
  }
  payloads(): Promise<never> {
    throw new Error("soon");
  }
  history(): Promise<never> {
    throw new Error("soon");
  }
  fleetHistory(): Promise<never> {
    throw new Error("soon");
  }
  markOffline(): Promise<never> {
    throw new Error("soon");
  }
  events(): Promise<never> {
    throw new Error("soon");
  }
  claimDelivery(): Promise<never> {
    throw new Error("soon");
  }
  commitDelivery(): Promise<never> {
    throw new Error("soon");
  }
  reportInstance(): Promise<never> {
    throw new Error("soon");
  }
  removeInstance(): Promise<never> {
    throw new Error("soon");
  }
  instances(): Promise<never> {
    throw new Error("soon");
  }

  async *counts(): AsyncGenerator<readonly DeviceCount[]> {
    // HSCAN may give a field more than once while the hash grows or shrinks.
    const seen = new Set<string>();
    let cursor = "0";
    do {
      const [next, fields] = await this.#reads.run(
        "scan the counts",
        (redis) => redis.hscan(countsKey, cursor, "COUNT", SCAN_COUNT),
      );
      const page: DeviceCount[] = [];
      for (let i = 0; i < fields.length; i += 2) {
        const deviceId = fields[i]!;
        if (seen.has(deviceId)) continue;
        seen.add(deviceId);
        page.push({ deviceId, count: Number(fields[i + 1]) });
      }
      if (page.length > 0) yield page;
      cursor = next;
    } while (cursor !== "0");
  }

  async device(deviceId: string): Promise<DeviceState | undefined> {
    const [count, record] = await this.#reads.run(
      `read device ${deviceId}`,
      (redis) => evaluate(redis, deviceScript, [countsKey, devicesKey], [deviceId]),
    ) as [Buffer | null, Buffer | null];
    return count === null ? undefined : { deviceId, count: Number(count), ...readRecord(record) };
  }

  async remove(deviceId: string): Promise<boolean> {
    const removed = await this.#writes.run(
      `remove device ${deviceId}`,
      (redis) => evaluate(redis, removeScript, [countsKey, devicesKey], [deviceId]),
    );
    return removed === 1;
  }

  async close(): Promise<void> {
    await Promise.all([this.#writes.close(), this.#reads.close()]);
  }

  /** What the server says of itself. */
  async info(): Promise<ServerInfo> {
    return parseInfo(await this.#writes.run("ask for INFO", (redis) => redis.info()));
  }

  /** Throws {@linkcode StoreError} if the server cannot do what `ackAfter` asks. */
  check(info: ServerInfo): void {
    if (this.#ackAfter.kind === "synced") {
      const asked = `acknowledging after "synced" needs Redis 7.2 or newer with appendonly on`;
      if (!info.hasWaitAof) {
        throw new StoreError(
          `${asked}; found version ${info.version} at ${this.#address}: upgrade it, or choose "stored"`,
        );
      }
      if (!info.appendOnly) {
        throw new StoreError(
          `${asked}; found appendonly off at ${this.#address}: set "appendonly yes", or choose "stored"`,
        );
      }
    }
    if (info.evictionPolicy !== undefined) {
      this.#log.warn(
        "Redis at {address} may evict counts and sessions (maxmemory-policy {policy}): set noeviction",
        { address: this.#address, policy: info.evictionPolicy },
      );
    }
    this.#checked = true;
  }

  /** For the Redis that could not be reached when the store was opened. */
  async #checkOnce(): Promise<void> {
    if (this.#ackAfter.kind === "synced" && !this.#checked) this.check(await this.info());
  }

  /** Resolves when all that was written on this connection is as safe as `ackAfter` asks. */
  async #durable(redis: Redis): Promise<void> {
    if (this.#ackAfter.kind === "replicated") {
      const { replicas } = this.#ackAfter;
      const found = await redis.wait(replicas, this.#durabilityTimeoutMs);
      if (found < replicas) {
        throw new Error(
          `${found} of ${replicas} replicas have it after ${this.#durabilityTimeoutMs} ms: ` +
            `look at INFO replication, or ask for fewer replicas`,
        );
      }
    } else if (this.#ackAfter.kind === "synced") {
      const [synced] = await redis.call("waitaof", [1, 0, this.#durabilityTimeoutMs]) as [number, number];
      if (synced < 1) {
        throw new Error(
          `the append-only file was not synced within ${this.#durabilityTimeoutMs} ms: ` +
            `look at appendfsync and the disk, or allow more time`,
        );
      }
    }
  }
}

/** How long a connection that is closed may take to send what was written to it. */
const DISCONNECT_TIMEOUT_MS = 100;

/** One connection that comes back by itself; never queues, never resends. */
class Connection {
  readonly address: string;
  readonly #redis: Redis;
  #lastError: Error | undefined;

  constructor(url: RedisStoreOptions["url"], use: string, commandTimeoutMs: number, log: Logger) {
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

  /** Runs `command`; whatever goes wrong becomes a {@linkcode StoreError}. */
  async run<T>(attempt: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    try {
      return await command(this.#redis);
    } catch (error) {
      throw new StoreError(`could not ${attempt} on Redis at ${this.address}: ${this.#reason(error)}`, {
        cause: withoutCommand(error),
      });
    }
  }

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

/**
 * Runs a script and, right behind it on the same connection, `after`; resolves to the script's reply
 * when both are done. Both are sent in one turn, because a reconnection in between would let WAIT answer
 * for a connection that wrote nothing. For the same reason the script itself is sent each time, not its
 * hash: Redis may have forgotten it, and sending it then would come behind the WAIT. It is 4 KB a flush.
 */
async function evaluate(
  redis: Redis,
  script: string,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
  after?: () => Promise<void>,
): Promise<unknown> {
  const reply = redis.callBuffer("eval", [script, keys.length, ...keys, ...args]);
  const [result] = await Promise.all([reply, after?.()]);
  return result;
}

interface ServerInfo {
  readonly version: string;
  readonly hasWaitAof: boolean;
  readonly appendOnly: boolean;
  /** What Redis evicts when its memory is full; undefined when it evicts nothing. */
  readonly evictionPolicy: string | undefined;
}

function parseInfo(text: string): ServerInfo {
  const fields = new Map(
    text.split("\r\n").map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
  const version = fields.get("redis_version") ?? "unknown";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const policy = fields.get("maxmemory_policy");
  const bounded = (fields.get("maxmemory") ?? "0") !== "0";
  return {
    version,
    hasWaitAof: major > 7 || (major === 7 && minor >= 2),
    appendOnly: fields.get("aof_enabled") === "1",
    evictionPolicy: bounded && policy !== "noeviction" ? policy : undefined,
  };
}

/** ioredis puts a failed command's arguments on the error: payloads, which must not reach a log. */
function withoutCommand(error: unknown): unknown {
  if (error instanceof Error && "command" in error) delete error.command;
  return error;
}
