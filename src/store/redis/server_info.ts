/**
 * What the Redis store checks of its server.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { AckAfter } from "../packets.ts";
import { StoreError } from "../store_error.ts";

/** What a server reports of itself. */
export interface ServerInfo {
  /** Version of Redis. */
  readonly version: string;
  /** Whether it has WAITAOF. */
  readonly hasWaitAof: boolean;
  /** Whether it writes an append-only file. */
  readonly appendOnly: boolean;
  /** What Redis evicts when its memory is full; undefined when it evicts nothing. */
  readonly evictionPolicy: string | undefined;
  /** Memory that it uses, bytes; undefined if that section was not read. */
  readonly memoryBytes: number | undefined;
  /** Whether it is a replica of another server. */
  readonly isReplica: boolean;
  /** Whether it is a node of a Redis Cluster. */
  readonly isCluster: boolean;
}

/** Reads the reply to INFO. */
export function parseInfo(text: string): ServerInfo {
  const fields = new Map(
    text.split("\r\n").map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
  const version = fields.get("redis_version") ?? "unknown";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const policy = fields.get("maxmemory_policy");
  const used = fields.get("used_memory");
  const bounded = (fields.get("maxmemory") ?? "0") !== "0";
  return {
    version,
    hasWaitAof: major > 7 || (major === 7 && minor >= 2),
    appendOnly: fields.get("aof_enabled") === "1",
    evictionPolicy: bounded && policy !== "noeviction" ? policy : undefined,
    memoryBytes: used === undefined ? undefined : Number(used),
    isReplica: fields.get("role") === "slave",
    isCluster: fields.get("redis_mode") === "cluster",
  };
}

/** Warns of a server that may lose data; throws {@linkcode StoreError} if it cannot do what `ackAfter` requires. */
export function checkServer(info: ServerInfo, ackAfter: AckAfter, address: string, log: Logger): void {
  if (ackAfter.kind === "synced") {
    const required = `acknowledging after "synced" needs Redis 7.2 or newer with appendonly on`;
    if (!info.hasWaitAof) {
      throw new StoreError(
        `${required}; found version ${info.version} at ${address}: upgrade it, or choose "stored"`,
      );
    }
    if (!info.appendOnly) {
      throw new StoreError(
        `${required}; found appendonly off at ${address}: set "appendonly yes", or choose "stored"`,
      );
    }
  }
  if (info.evictionPolicy !== undefined) {
    log.warn(
      "Redis at {address} may evict counts and sessions (maxmemory-policy {policy}): set noeviction",
      { address, policy: info.evictionPolicy },
    );
  }
}
