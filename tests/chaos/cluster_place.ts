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

/** After that an ingest that reaches the store again has finished the batch that it had in flight; longer each time. */
const FINISHED_AFTER_MS = 300, MAX_ATTEMPTS = 10;

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

  async committed(sessions: readonly string[]): Promise<Map<string, number>> {
    const offsets = new Map<string, number>();
    for (const session of sessions) {
      const keys = shardKeys(shardOf(session, SHARDS), SHARDS);
      const { server } = await this.cluster.master(keys.slot);
      const value = await server.call("GET", keys.session(session)) as string | null;
      offsets.set(session, Number(value?.split(" ")[1] ?? 0));
    }
    return offsets;
  }

  /** A batch moves sessions in several steps: `body` runs when none is between two of them, as the comparison expects. */
  async withoutTally(body: () => Promise<void>): Promise<void> {
    for (let attempt = 1;; attempt++) {
      this.#isOpen = false;
      for (const proxy of this.proxies) proxy.cut();
      await delay(CARRIED_OUT_AFTER_MS);
      if (attempt === MAX_ATTEMPTS || !await this.#isBetweenSteps()) break;
      this.#isOpen = true;
      await delay(FINISHED_AFTER_MS * attempt);
    }
    await body();
    this.#isOpen = true;
  }

  /** Whether a shard has packets of a session beyond its committed offset. */
  async #isBetweenSteps(): Promise<boolean> {
    const offsets = new Map<string, number>();
    for (let shard = 0; shard < SHARDS; shard++) {
      const { slot, session } = shardKeys(shard, SHARDS);
      const { server } = await this.cluster.master(slot);
      const keys = await server.call("KEYS", session("*")) as string[];
      if (keys.length === 0) continue;
      const values = await server.call("MGET", ...keys) as (string | null)[];
      for (const [i, key] of keys.entries()) {
        const name = key.slice(session("").length);
        const offset = Number(values[i]?.split(" ")[1] ?? 0);
        offsets.set(name, Math.max(offset, offsets.get(name) ?? 0));
      }
    }
    return [...offsets].some(([name, offset]) => offset < (offsets.get(partOf(name)) ?? 0));
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
