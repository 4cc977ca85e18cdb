/**
 * What all connections of ioredis have in common.
 *
 * @module
 */
import type { Redis, RedisOptions } from "ioredis";

import { Backoff } from "../../runtime/backoff.ts";
import type { NatMap } from "./cluster_slots.ts";
import type { Endpoint, RedisTarget, RedisUrl } from "./redis_url.ts";

/** Where Redis is, and how it is connected to. */
export interface ServerOptions {
  /** See {@linkcode RedisUrl}. */
  readonly url: RedisUrl;
  /** Of the sentinels, if the URL names any and they require one. */
  readonly sentinelPassword?: string | undefined;
  /** Addresses that nodes of a cluster announce, and where they are reached; default: as announced. */
  readonly natMap?: NatMap | undefined;
  /** Certificates, as PEM, of the authorities that `rediss://` trusts; default: those of the system. */
  readonly tlsCa?: string | undefined;
  /** Every command receives its reply within this time or rejects. */
  readonly commandTimeoutMs: number;
}

/** Names the server that a connection leads to, when the URL has only those that know it. */
export interface MasterFinder {
  /** Why it has not named one yet. */
  failure(): string;
  /** Calls `follower` with the master, now if it is known, and whenever it changes, until the function returned is called. */
  follow(follower: (master: Endpoint) => void): () => void;
  /** A connection to `master` failed, or received `message` instead of what it requested. */
  failed(message: string, master: Endpoint): void;
}

/** The wait before the first attempt to connect again. */
const FIRST_RETRY_MS = 50;

/** The longest wait before an attempt to connect again. */
export const MAX_RETRY_MS = 1000;

/** How long a connection that is closed may take to send what was written to it. */
export const DISCONNECT_TIMEOUT_MS = 100;

/**
 * Options of a connection to `endpoint` that never queues and never resends, and its back-off, which counts no success
 * by itself.
 */
export function redisOptions(
  endpoint: Endpoint,
  target: RedisTarget,
  options: ServerOptions,
  maxMs: number = MAX_RETRY_MS,
): { options: Omit<RedisOptions, "replyMapping">; backoff: Backoff } {
  const { commandTimeoutMs, tlsCa } = options;
  const backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs });
  return {
    backoff,
    options: {
      ...endpoint,
      ...(target.tls ? { tls: tlsCa === undefined ? {} : { ca: tlsCa } } : {}),
      protocol: 2,
      enableReadyCheck: false,
      disableClientInfo: true,
      // A command is sent now or rejects now. The offline queue is unbounded, and the caller decides what is
      // sent again.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      // Zero: commands in flight reject as soon as their connection is lost.
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      connectTimeout: commandTimeoutMs,
      // A connection without replies is closed: what is written to it would pile up.
      socketTimeout: commandTimeoutMs,
      disconnectTimeout: DISCONNECT_TIMEOUT_MS,
      retryStrategy: () => backoff.failed(),
    },
  };
}

/** Signs in; a server without a password accepts every client. Resolves to whether it has one. */
export async function authenticate(redis: Redis, { username, password }: RedisTarget): Promise<boolean> {
  if (password === undefined) return true;
  try {
    await redis.call("auth", username ? [username, password] : [password]);
    return true;
  } catch (error) {
    if (/no password is set|without any password configured/.test((error as Error).message)) return false;
    throw error;
  }
}

/** Ends a connection for good; commands in flight reject. */
export async function disconnect(redis: Redis): Promise<void> {
  if (redis.status === "end") return;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  // Between two attempts there is no connection that could end, but ioredis waits for its end.
  const isBetween = redis.status === "reconnecting";
  if (!isBetween) redis.once("end", resolve);
  redis.disconnect();
  if (isBetween) setTimeout(resolve, DISCONNECT_TIMEOUT_MS); // After the timer of ioredis.
  await ended;
}
