/**
 * The Redis store on a cluster of three masters with a replica each: through failovers, crashes and moves of slots it
 * repeats what was not executed, and counts once.
 *
 * One cluster serves the tests of this file, in their order: each leaves it healthy.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { getLogger } from "@logtape/logtape";

import { TelemetryClient } from "../../src/client/client.ts";
import { type AckAfter, DEFER_FROM } from "../../src/store/packets.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import type { RedisStoreOptions } from "../../src/store/redis/redis_client.ts";
import { openRedisShards } from "../../src/store/redis/redis_store.ts";
import { shardedStore } from "../../src/store/sharded/sharded_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now, numbered } from "../support/batches.ts";
import { Program } from "../support/program.ts";
import { type RedisCluster, startCluster } from "../support/redis_cluster.ts";
import { documentedPermissions, startRedis } from "../support/redis_server.ts";
import { openStore, untilStored } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

let cluster: RedisCluster;
Deno.test.beforeAll(async () => {
  cluster = await startCluster();
});
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());

const SHARDS = 3;
const REPLICATED: AckAfter = { kind: "replicated", replicas: 1 };

/** The slot of shard 0. */
const { slot } = shardKeys(0, SHARDS);

testStoreContract("Redis Cluster", async () => {
  await cluster.clear();
  return {
    location: { kind: "redis", url: cluster.url },
    open: () => openStore(cluster),
    snapshot: () => cluster.snapshot(shardKeys().slot),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
});

Deno.test("openRedisShards() spreads shards over the masters, and each has a store of its own", async () => {
  await cluster.clear();
  await withShards(async (stores) => {
    for (const [shard, store] of stores.entries()) {
      await store.apply(batch(1, { devices: [delta(`device ${shard}`, shard + 1)] }));
      assertEquals(await countsOf(store), { [`device ${shard}`]: shard + 1 });
      assertStringIncludes(store.description, `shard ${shard}`);
    }
  });
  const masters = (await cluster.nodes()).filter(({ flags }) => flags.includes("master"));
  const counted = await Promise.all(masters.map(async ({ server }) => {
    const keys = await server.call("KEYS", "device_metrics*") as string[];
    return [keys, await Promise.all(keys.map((key) => server.call("HLEN", key)))];
  }));
  assertEquals(counted.map(([keys, lengths]) => [keys!.length, lengths]), [[1, [1]], [1, [1]], [1, [1]]]);
});

Deno.test("openRedisShards() defers a batch from the devices on that it has in all shards", async () => {
  await cluster.clear();
  await withShards(async (stores) => {
    const store = numbered(shardedStore({ shards: stores as [Store, ...Store[]] }));
    const apply = async (sequence: number, devices: number) => {
      const deltas = Array.from({ length: devices }, (_, i) => delta(`device ${i}`, 1));
      await store.apply({ ...batch(sequence, { devices: deltas }), previous: sequence - 1 });
      return store.deferred!().packets;
    };
    assertEquals([await apply(1, DEFER_FROM - 500), await apply(2, DEFER_FROM - 500)], [0, 0]);
    assertEquals(await apply(3, DEFER_FROM + 500), DEFER_FROM - 500, "those that were known");
  });
});

Deno.test("openRedisShards() refuses another number of shards than the data has, and names it", async () => {
  await cluster.clear();
  await withShards(() => Promise.resolve());
  for (const shards of [1, 2, 4]) {
    const error = await assertRejects(() => open(shards), StoreError, "divided into 3 shards");
    assertStringIncludes(error.message, "set it to 3");
  }
  await cluster.clear();
  const store = await openStore(cluster);
  await store.apply(batch(1, { devices: [delta("a", 1)] }));
  await store.close();
  await assertRejects(() => open(3), StoreError, "divided into 1 shard, and TALLY_SHARDS is 3");
});

Deno.test("openRedisStore() refuses a URL of one node, and names the URL of the cluster", async () => {
  for (const server of cluster.servers.slice(0, 2)) {
    const { message } = await assertRejects(() => openStore(server), StoreError, "part of a Redis Cluster");
    const url = /REDIS_URL=(\S+)$/.exec(message)?.[1];
    assert(url, message);
    const nodes = url.replace("redis+cluster://", "").split(",");
    assertEquals(nodes[0], `127.0.0.1:${server.port}`);
    assert(nodes.length >= 3, url);
    const store = await openStore({ url });
    await store.ping();
    await store.close();
  }
});

Deno.test("openRedisStore() refuses redis+cluster:// for a server that is in no cluster", async () => {
  await using server = await startRedis();
  const url = server.url.replace("redis:", "redis+cluster:");
  await assertRejects(() => openStore({ url }), StoreError, "it is no Redis Cluster");
});

Deno.test("RedisStore on a cluster follows a failover that was requested, and loses nothing", async () => {
  await cluster.clear();
  await withWriter(async (writer) => {
    await cluster.failover(slot);
    await writer.untilAppliedMore(5);
  });
});

Deno.test("RedisStore on a cluster applies no batch twice and none in part while its slot is moved", async () => {
  await cluster.clear();
  await withWriter(async (writer) => {
    const move = await cluster.beginMove(slot);
    await cluster.moveKeys(slot, move, 3);
    // Longer than the time of a command: it rejects, and its caller repeats it.
    await until(
      () => writer.rejections.some((message) => /TRYAGAIN|ASK/.test(message)),
      "a batch is rejected",
    );
    await cluster.endMove(slot, move);
    await writer.untilAppliedMore(5);
  });
});

Deno.test("RedisStore on a cluster repeats what was not executed, and rejects none of it, if its slot moves in time", async () => {
  await cluster.clear();
  await withWriter(async (writer) => {
    for (let i = 0; i < 3; i++) {
      const move = await cluster.beginMove(slot);
      await cluster.moveKeys(slot, move, 3);
      await delay(50);
      await cluster.endMove(slot, move);
      await writer.untilAppliedMore(5);
    }
    // A command that was in flight when the connection moved may reject.
    assertEquals(writer.rejections.filter((message) => /TRYAGAIN|ASK|MOVED/.test(message)), []);
  }, { commandTimeoutMs: 10_000 });
});

// The process of a master is not of one test alone, and a name may still be looked up when a test ends.
const ofAll = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "RedisStore on a cluster: a master that is killed loses nothing acknowledged with replicated:1",
  ofAll,
  async () => {
    await cluster.clear();
    await withWriter(async (writer) => {
      const { server } = await cluster.master(slot);
      await server.kill9();
      await until(() => writer.rejections.length > 0, "a batch is rejected");
      await cluster.untilServed(slot, server);
      await server.start();
      await cluster.untilHealthy();
      await writer.untilAppliedMore(5);
    });
  },
);

Deno.test("RedisStore on a cluster that is down rejects, and applies again when it is up", async () => {
  await cluster.clear();
  await withWriter(async (writer) => {
    // Without one of its slots a cluster serves none.
    const { server: owner, slots } = await cluster.otherMaster(slot);
    const lost = parseInt(slots[0]!);
    for (const server of cluster.servers) await server.call("CLUSTER", "DELSLOTS", lost);
    await until(
      () => writer.rejections.some((message) => message.includes("CLUSTERDOWN")),
      "a batch is rejected",
    );
    await owner.call("CLUSTER", "ADDSLOTS", lost);
    await cluster.untilHealthy();
    await writer.untilAppliedMore(5);
  }, { ackAfter: { kind: "stored" } });
});

Deno.test("RedisStore on a cluster: a user with the permissions of OPERATIONS.md can use all shards", async () => {
  await cluster.clear();
  const permissions = await documentedPermissions({ cluster: true });
  for (const { server } of await cluster.nodes()) {
    await server.call("ACL", "SETUSER", "tally", ...permissions, ">secret");
  }
  const stores = await open(SHARDS, { url: cluster.url.replace("://", "://tally:secret@") });
  const store = shardedStore({ shards: [stores[0]!, ...stores.slice(1)] });
  try {
    assert(!store.description.includes("secret"), store.description);
    const devices = Array.from(
      { length: 30 },
      (_, i) => delta(`device ${i}`, 1, 1000, "long".repeat(100 * (i % 2))),
    );
    const { epoch } = await store.claimSession("s", 0, now);
    const sessions = [{ ...advance("s", epoch, 0, 30), deltas: devices }];
    assertEquals(await store.apply(batch(1, { devices, sessions })), []);
    assertEquals(await store.markOffline(devices.map(({ deviceId }) => deviceId), now + 1, now + 1), 30);
    assertEquals((await store.events(undefined, 100)).length, 30);
    assertEquals(Object.keys(await countsOf(store)).length, 30);
    await store.appendAudit([{ atMs: now, actor: "", action: "", target: "", detail: "" }]);
    await store.ping();
  } finally {
    await store.close();
  }
  for (const { server } of await cluster.nodes()) assertEquals(await server.call("ACL", "LOG"), []);
});

Deno.test(
  "natMap: nodes that announce names which do not resolve are reached at the addresses of the map",
  ofAll,
  async () => {
    await cluster.clear();
    const nameOf = (port: number) => `node-${port}.invalid`;
    try {
      for (const server of cluster.servers) {
        await server.call("CONFIG", "SET", "cluster-announce-hostname", nameOf(server.port));
        await server.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname");
      }
      await until(async () => {
        for (const server of cluster.servers) {
          const slots = await server.call("CLUSTER", "SLOTS") as [number, number, [string]][];
          if (!slots.every(([, , [host]]) => host.endsWith(".invalid"))) return false;
        }
        return true;
      }, "all nodes announce names");
      const natMap = new Map(
        cluster.servers.map(({ port }) => [`${nameOf(port)}:${port}`, { host: "127.0.0.1", port }]),
      );
      await withShards(async (stores) => {
        for (const store of stores) await store.ping();
        await cluster.failover(slot);
        await untilStored(() => stores[0]!.ping());
      }, { natMap });
      const [store, ...others] = await open();
      await assertRejects(() => store!.ping(), StoreError, ".invalid");
      for (const other of [store!, ...others]) await other.close();
    } finally {
      for (const server of cluster.servers) {
        await server.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip");
      }
    }
  },
);

Deno.test(
  "main serves a cluster of REDIS_URL through a failover: devices send and are counted once, and readers see all",
  ofAll,
  async () => {
    await cluster.clear();
    const env = { REDIS_URL: cluster.url, TALLY_ACK_AFTER: "replicated:1" };
    await using program = await Program.start([], env);
    assertStringIncludes(String((await program.line("store open"))["store"]), "in 6 shards");
    const { port: http } = await program.line("api listening");
    const { port } = await program.line("ingest listening");
    assertEquals(program.seen.filter(({ message }) => message.includes("connected")), []);
    await using client = await TelemetryClient.open({ target: `127.0.0.1:${port}`, maxBackoffMs: 100 });
    const send = async (packets: number) => {
      for (let i = 0; i < packets; i++) {
        await client.send({ device_id: `d-${i % 40}`, timestamp: Date.now(), payload: new Uint8Array(9) });
      }
    };
    await send(2000);
    await client.flush();
    await Promise.all([send(6000), cluster.failover(shardKeys(1, 6).slot)]);
    const { committed, pending } = await client.flush();
    assertEquals([committed, pending], [8000, 0]);
    await until(async () => {
      const counts: { count: number }[] = await (await fetch(`http://127.0.0.1:${http}/metrics`)).json();
      return counts.length === 40 && counts.every(({ count }) => count === 200);
    }, "the api has the counts of all shards");
    const keys = await Promise.all(cluster.servers.map((server) => server.call("KEYS", "device_metrics:*")));
    const hashes = new Set((keys as string[][]).flat());
    assertEquals(hashes, new Set(Array.from({ length: 6 }, (_, shard) => shardKeys(shard, 6).counts)));
    program.signal("SIGTERM");
    assertEquals((await program.end()).code, 0);

    await using other = await Program.start([], { ...env, TALLY_SHARDS: "3" });
    assertStringIncludes(String((await other.line("failed"))["reason"]), "divided into 6 shards");
    assertEquals((await other.end()).code, 1);
  },
);

function open(shards = SHARDS, options: Partial<RedisStoreOptions> = {}): Promise<Store[]> {
  const log = getLogger(["tally", "test"]);
  const usual = { url: cluster.url, ackAfter: REPLICATED, commandTimeoutMs: 1000, log };
  return openRedisShards({ ...usual, ...options }, shards);
}

async function withShards(
  body: (stores: Store[]) => Promise<void>,
  options?: Partial<RedisStoreOptions>,
): Promise<void> {
  const stores = await open(SHARDS, options);
  try {
    await body(stores);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

/** Writes to shard 0 while `body` runs, and compares what was acknowledged with what is stored. */
async function withWriter(
  body: (writer: Writer) => Promise<void>,
  options?: Partial<RedisStoreOptions>,
): Promise<void> {
  await withShards(async ([store]) => {
    const writer = new Writer(store!);
    await writer.untilAppliedMore(2);
    try {
      await body(writer);
    } finally {
      await writer.stop();
    }
    const counts = await untilStored(() => countsOf(store!));
    assertEquals(counts, { a: writer.applied, b: 2 * writer.applied });
    const { committed } = await untilStored(() => store!.claimSession("s", 0, now));
    assertEquals(committed, writer.applied);
  }, options);
}

/** Applies batches of a session, one after the other, and repeats each until it is acknowledged. */
class Writer {
  /** Batches that were acknowledged. */
  applied = 0;
  /** Messages of the rejections. */
  readonly rejections: string[] = [];
  #stopping = false;
  readonly #done: Promise<void>;

  constructor(store: Store) {
    this.#done = this.#run(store);
  }

  async untilAppliedMore(batches: number): Promise<void> {
    const wanted = this.applied + batches;
    await until(() => this.applied >= wanted, `${batches} more batches are applied`, 30);
  }

  /** The last batch may be applied without an acknowledgement if this is called during an outage. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  async #run(store: Store): Promise<void> {
    const { epoch } = await store.claimSession("s", 0, now);
    for (let sequence = 1; !this.#stopping; sequence++) {
      const next = batch(sequence, {
        devices: [delta("a", 1), delta("b", 2)],
        sessions: [advance("s", epoch, sequence - 1, sequence)],
      });
      while (
        !await store.apply(next).then((unapplied) => unapplied.length === 0, (error) => this.#failed(error))
      ) {
        if (this.#stopping) return;
        await delay(20);
      }
      this.applied++;
    }
  }

  #failed(error: unknown): false {
    assert(error instanceof StoreError, String(error));
    this.rejections.push(error.message);
    return false;
  }
}
