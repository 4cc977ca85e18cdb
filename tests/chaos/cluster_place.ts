/** @module */
import { setTimeout as delay } from "node:timers/promises";

import { shardKeys } from "../../src/store/redis/keys.ts";
import { partOf } from "../../src/store/sharded/session_shards.ts";
import { shardOf } from "../../src/store/sharded/shard_of.ts";
import { type RedisCluster, startCluster } from "../support/redis_cluster.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { deferringSettings, storedCounts, untilAllCounted } from "./stored_counts.ts";
import type { StorePlace } from "./store_place.ts";
import { EntryReader, type StreamedPackets, streamSettings } from "./streamed_packets.ts";

/** Shards of the data: two for each master. */
export const SHARDS = 6;

/** After that Redis has carried out what it was sent before its connections were cut. */
const CARRIED_OUT_AFTER_MS = 100;

/** A Redis Cluster, and between each of its nodes and each ingest a proxy, to which a NAT map leads. */
export class ClusterPlace implements StorePlace {
  /** By ingest, then by node. */
  readonly proxiesOf: readonly (readonly FaultProxy[])[];
  /** Ports of nodes that an ingest cannot reach. */
  readonly cutOff: readonly Set<number>[];
  /** False while no ingest may reach the store. */
  #isOpen = true;

  private constructor(readonly cluster: RedisCluster, ingests: number) {
    this.cutOff = Array.from({ length: ingests }, () => new Set<number>());
    this.proxiesOf = this.cutOff.map((ports) =>
      cluster.servers.map(({ port }) =>
        new FaultProxy(() => this.#isOpen && !ports.has(port) ? port : undefined)
      )
    );
  }

  /** Starts the cluster; its nodes keep what they were sent also when they are killed. */
  static async start(ingests: number): Promise<ClusterPlace> {
    return new ClusterPlace(await startCluster({ appendonly: "yes", appendfsync: "always" }), ingests);
  }

  /** Between all ingests and all nodes. */
  get proxies(): readonly FaultProxy[] {
    return this.proxiesOf.flat();
  }

  /** A master that is killed loses nothing that was acknowledged if its replica has it. */
  ingestSettings(index: number): Record<string, string> {
    const proxies = this.proxiesOf[index]!;
    const pairs = this.cluster.servers.map(({ port }, i) =>
      `127.0.0.1:${port}=127.0.0.1:${proxies[i]!.port}`
    );
    return {
      REDIS_URL: `redis+cluster://${proxies.slice(0, 3).map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
      TALLY_REDIS_NAT_MAP: pairs.join(","),
      TALLY_SHARDS: String(SHARDS),
      TALLY_ACK_AFTER: "replicated:1",
      ...deferringSettings(index),
      ...streamSettings,
    };
  }

  get apiSettings(): Record<string, string> {
    return { REDIS_URL: this.cluster.url, TALLY_SHARDS: String(SHARDS) };
  }

  allCounted(): Promise<void> {
    return untilAllCounted(() =>
      Promise.all(Array.from({ length: SHARDS }, async (_, shard) => {
        const keys = shardKeys(shard, SHARDS);
        return [(await this.cluster.master(keys.slot)).server, keys] as const;
      }))
    );
  }

  async counts(): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (let shard = 0; shard < SHARDS; shard++) {
      const keys = shardKeys(shard, SHARDS);
      const { server } = await this.cluster.master(keys.slot);
      for (const [deviceId, count] of await storedCounts(server, keys)) counts.set(deviceId, count);
    }
    return counts;
  }

  async streamed(): Promise<StreamedPackets> {
    const reader = new EntryReader();
    for (let shard = 0; shard < SHARDS; shard++) {
      const keys = shardKeys(shard, SHARDS);
      await reader.addShard((await this.cluster.master(keys.slot)).server, keys);
    }
    return reader.packets;
  }

  shardOf(deviceId: string): number {
    return shardOf(deviceId, SHARDS);
  }

  /** Of its own devices a session's home has what is before the committed offset too. */
  async held(sessions: readonly string[]): Promise<Map<string, readonly number[]>> {
    const held = new Map(sessions.map((session): [string, number[]] => [session, []]));
    for (let shard = 0; shard < SHARDS; shard++) {
      const keys = shardKeys(shard, SHARDS);
      const { server } = await this.cluster.master(keys.slot);
      const names = sessions.flatMap((session) => [keys.session(partOf(session)), keys.session(session)]);
      const values = await server.call("MGET", ...names) as (string | null)[];
      const offsets = values.map((value) => Number(value?.split(" ")[1] ?? 0));
      for (const [i, session] of sessions.entries()) {
        held.get(session)!.push(Math.max(offsets[2 * i]!, offsets[2 * i + 1]!));
      }
    }
    return held;
  }

  async withoutTally(body: () => Promise<void>): Promise<void> {
    this.#isOpen = false;
    for (const proxy of this.proxies) proxy.cut();
    await delay(CARRIED_OUT_AFTER_MS);
    await body();
    this.#isOpen = true;
  }

  /**
   * Keeps what one shard holds at one moment, in the middle of whatever Tally does; the function it resolves to puts it
   * back, and leaves the other shards as they are.
   */
  snapshotShard(shard: number): Promise<() => Promise<void>> {
    return this.cluster.snapshot(shardKeys(shard, SHARDS).slot);
  }

  /** Keeps what all nodes hold at one moment; the function it resolves to puts it back. */
  async snapshot(): Promise<() => Promise<void>> {
    let putBack: (() => Promise<void>)[] = [];
    await this.withoutTally(async () => {
      putBack = await Promise.all(this.cluster.servers.map((server) => server.snapshot()));
    });
    return async () => {
      await Promise.all(putBack.map((put) => put()));
      await this.cluster.untilHealthy();
    };
  }

  async interrupt(): Promise<void> {
    for (const server of this.cluster.servers) await server.call("CLIENT", "KILL", "TYPE", "normal");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    await this.cluster[Symbol.asyncDispose]();
  }
}
