/** @module */
import { setTimeout as delay } from "node:timers/promises";

import { shardKeys } from "../../src/store/redis/keys.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { deferringSettings, storedCounts, untilAllCounted } from "./stored_counts.ts";
import type { StorePlace } from "./store_place.ts";
import { EntryReader, type StreamedPackets, streamSettings } from "./streamed_packets.ts";

const keys = shardKeys();

/** After that Redis has carried out what it was sent before its connections were cut. */
const CARRIED_OUT_AFTER_MS = 100;

/** A Redis, and between it and each ingest a proxy. */
export class RedisPlace implements StorePlace {
  /** Between each ingest and Redis. */
  readonly proxies: readonly FaultProxy[];
  /** False while the store loses data: what it holds then is compared. */
  #isOpen = true;

  private constructor(readonly redis: RedisServer, ingests: number) {
    this.proxies = Array.from(
      { length: ingests },
      () => new FaultProxy(() => this.#isOpen ? redis.port : undefined),
    );
  }

  /** Starts Redis; it keeps what it was sent also when it is killed. */
  static async start(ingests: number): Promise<RedisPlace> {
    return new RedisPlace(await startRedis({ appendonly: "yes", appendfsync: "always" }), ingests);
  }

  ingestSettings(index: number): Record<string, string> {
    return { ...settingsOf(this.proxies[index]!.port), ...deferringSettings(index), ...streamSettings };
  }

  get apiSettings(): Record<string, string> {
    return settingsOf(this.redis.port);
  }

  allCounted(): Promise<void> {
    return untilAllCounted(() => Promise.resolve([[this.redis, keys]]));
  }

  counts(): Promise<Map<string, number>> {
    return storedCounts(this.redis, keys);
  }

  async streamed(): Promise<StreamedPackets> {
    const reader = new EntryReader();
    await reader.addShard(this.redis, keys);
    return reader.packets;
  }

  shardOf(): number {
    return 0;
  }

  async held(sessions: readonly string[]): Promise<Map<string, readonly number[]>> {
    const found = await this.redis.call("MGET", ...sessions.map(keys.session)) as (string | null)[];
    return new Map(sessions.map((session, i) => [session, [Number(found[i]?.split(" ")[1] ?? 0)]]));
  }

  async withoutTally(body: () => Promise<void>): Promise<void> {
    this.#isOpen = false;
    for (const proxy of this.proxies) proxy.cut();
    await delay(CARRIED_OUT_AFTER_MS);
    await body();
    this.#isOpen = true;
  }

  /** Closes every connection: the api's too. */
  async interrupt(): Promise<void> {
    await this.redis.call("CLIENT", "KILL", "TYPE", "normal");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    await this.redis.stop();
  }
}

function settingsOf(port: number): Record<string, string> {
  return { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(port) };
}
