/**
 * Packets that are appended to a segment log and counted later.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { ForeignCounts } from "../../src/store/model/foreign_counts.ts";
import type { Batch, DeviceDelta, PacketStore } from "../../src/store/packets.ts";
import { DeferredPackets } from "../../src/store/redis/deferred_packets.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { LAYOUT_VERSION } from "../../src/store/redis/layout.ts";
import { redisPackets } from "../../src/store/redis/packets.ts";
import { RedisClient, type RedisStoreOptions, type ScriptCall } from "../../src/store/redis/redis_client.ts";
import { mergeScript } from "../../src/store/redis/scripts.ts";
import { ShardConnections } from "../../src/store/redis/shard_connections.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { forSeeds } from "../support/random.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { openDeferringStore, openStore, untilCounted, withStore } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

const keys = shardKeys();
const log = getLogger(["tally", "test"]);

testStoreContract("Redis, deferring", async () => {
  const server = await startRedis();
  return {
    location: { kind: "redis", url: server.url },
    open: () => openDeferringStore(server),
    snapshot: () => server.snapshot(),
    [Symbol.asyncDispose]: () => server.stop(),
  };
}, { only: "packets" });

/** A writer with a log of its own. Injects a fault that no server shows on demand: merges wait, or fail. */
class DeferringWriter implements AsyncDisposable {
  readonly packets: PacketStore;
  readonly deferred: DeferredPackets;
  /** Merges that may be sent; -1: all. */
  merges = 0;
  sent = 0;
  /** Merges that were refused, or had been done before. */
  refused = 0;
  /** The reply to the next batch is lost. */
  losesReply = false;
  /** Replies to merges are lost, each once. */
  losesMergeReplies = false;
  /** Awaited before the next batch is sent, when it is divided already. */
  beforeNext: (() => Promise<unknown>) | undefined;
  readonly #numbering = new Map<string, number>();

  private constructor(readonly client: RedisClient) {
    const foreign = new ForeignCounts(keys.counts, log);
    const faulty = new Proxy(client, {
      get: (target, name) => {
        if (name === "write") return (...call: ScriptCall) => this.#write(call);
        if (name === "writeDurably") return this.#writeDurably.bind(this);
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    this.deferred = new DeferredPackets(faulty, foreign, 1, log);
    this.packets = redisPackets(faulty, foreign, this.deferred);
  }

  static async open({ url }: RedisServer): Promise<DeferringWriter> {
    const options: RedisStoreOptions = { url, ackAfter: { kind: "stored" }, commandTimeoutMs: 2000, log };
    const client = new RedisClient(options, new ShardConnections(options, 1), 0);
    await client.open(2000);
    return new DeferringWriter(client);
  }

  async #write(call: ScriptCall): Promise<unknown> {
    if (call[1] !== mergeScript) return await this.client.write(...call);
    if (this.merges === 0) throw new StoreError("the test lets no merge pass");
    const reply = await this.client.write(...call);
    this.merges--;
    this.sent++;
    if ((reply as [number])[0] !== 0) this.refused++;
    else if (this.losesMergeReplies) throw new StoreError("the test loses the reply");
    return reply;
  }

  async #writeDurably(...call: Parameters<RedisClient["writeDurably"]>): Promise<unknown> {
    const { beforeNext } = this;
    this.beforeNext = undefined;
    await beforeNext?.();
    const reply = await this.client.writeDurably(...call);
    if (!this.losesReply) return reply;
    this.losesReply = false;
    throw new StoreError("the test loses the reply");
  }

  /** Applies a batch of numbered devices. */
  apply(batch: Batch) {
    return this.packets.apply(this.numbered(batch));
  }

  /** The batch with numbers of its devices. */
  numbered(batch: Batch): Batch {
    const devices = batch.devices.map((delta): DeviceDelta => {
      const device = this.#numbering.get(delta.deviceId) ?? this.#numbering.size;
      this.#numbering.set(delta.deviceId, device);
      return { ...delta, device };
    });
    return { ...batch, devices, numbering: this.#numbering };
  }

  /** Ends without a word, as after `kill -9`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.deferred.close(0);
    await this.client.close();
  }
}

/** The leases of all logs end. */
async function endLeases(server: RedisServer): Promise<void> {
  const logs = await server.call("HGETALL", keys.logs) as string[];
  for (let i = 0; i < logs.length; i += 2) {
    await server.call("HSET", keys.logs, logs[i]!, `0 ${logs[i + 1]!.split(" ")[1]}`);
  }
}

/** Some other process takes over what was left, and counts it. */
async function countByAnother(server: RedisServer): Promise<void> {
  await endLeases(server);
  await withStore(server, async (store) => {
    await store.ping();
    await untilCounted(server);
  });
}

const fleet = (devices: number, packets: number) =>
  Array.from({ length: devices }, (_, i) => delta(`sensor-${i}`, packets));

async function total(server: RedisServer): Promise<{ packets: number; devices: number }> {
  const counts = await server.call("HVALS", keys.counts) as string[];
  return { packets: counts.reduce((sum, count) => sum + Number(count), 0), devices: counts.length };
}

Deno.test("RedisStore.apply() of many known devices stores a segment, which is counted later, and leaves nothing else", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(5000, 1) }));
  const keysBefore = await server.call("DBSIZE");
  const { epoch } = await writer.packets.claimSession("s", 0, now);
  await writer.apply(batch(2, { devices: fleet(5000, 2), sessions: [advance("s", epoch, 0, 10_000)] }));
  await writer.apply(batch(3, { devices: fleet(5000, 3) }));
  assertEquals(await total(server), { packets: 5000, devices: 5000 });
  assertEquals(await server.call("GET", keys.session("s")), `${epoch} 10000`);
  writer.merges = -1;
  await untilCounted(server);
  assertEquals(await total(server), { packets: 30_000, devices: 5000 });
  // The session, and the list of sessions.
  assertEquals(await server.call("DBSIZE"), Number(keysBefore) + 2);
});

Deno.test("RedisStore: a log is merged once, though its owner ends after any part of it, and comes back", async () => {
  await forSeeds(2, async (random) => {
    await using server = await startRedis();
    await using writer = await DeferringWriter.open(server);
    let packets = 7000, sequence = 1;
    await writer.apply(batch(sequence, { devices: fleet(7000, 1) }));
    for (let round = 0; round < 3; round++) {
      for (let n = random.int(1, 4); n > 0; n--) {
        await writer.apply(batch(++sequence, { devices: fleet(7000, n) }));
        packets += 7000 * n;
      }
      const merges = writer.sent + random.int(0, 4);
      writer.merges = merges - writer.sent;
      await until(() => writer.merges <= 0 || writer.sent >= merges, "so many parts are merged").catch(
        () => {},
      );
      writer.merges = 0;
      await countByAnother(server);
      assertEquals(await total(server), { packets, devices: 7000 });
    }
    // The owner goes on with a log of its own.
    writer.merges = -1;
    await writer.apply(batch(++sequence, { devices: fleet(7000, 1) }));
    await untilCounted(server);
    assertEquals(await total(server), { packets: packets + 7000, devices: 7000 });
  });
});

Deno.test("RedisStore: a log that another process has taken over accepts neither a batch nor a merge of its owner", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using other = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(3000, 1) }));
  await writer.apply(batch(2, { devices: fleet(3000, 1) }));
  await endLeases(server);
  other.deferred.adopt();
  const [name] = await server.call("HKEYS", keys.logs) as string[];
  await until(async () => await server.call("HGET", keys.log(name!), "owner") !== name, "it is taken over");
  other.merges = 1;
  await until(() => other.sent === 1, "a part is merged");
  writer.merges = -1;
  await until(() => writer.sent > 0, "the owner tries to merge");
  assertEquals(await writer.apply(batch(3, { devices: fleet(3000, 1) })), []);
  other.merges = -1;
  await untilCounted(server);
  assertEquals(await total(server), { packets: 9000, devices: 3000 });
});

Deno.test("RedisStore: what was deferred into a store that was emptied or restored is not counted into what is there now", async () => {
  for (const way of ["emptied", "restored"] as const) {
    await using server = await startRedis();
    await using writer = await DeferringWriter.open(server);
    await writer.apply(batch(1, { devices: fleet(3000, 1) }));
    // The first segment is merged by itself; the others are merged together.
    await writer.apply(batch(2, { devices: fleet(3000, 1) }));
    await writer.apply(batch(3, { devices: fleet(3000, 1) }));
    const restore = await server.snapshot();
    await writer.apply(batch(4, { devices: fleet(3000, 1) }));
    if (way === "emptied") await server.call("FLUSHALL");
    else await restore();
    writer.merges = -1;
    await until(async () => {
      const applied = writer.apply({ ...batch(5, { devices: fleet(3000, 1) }), previous: 4 });
      return await applied.then(() => true, () => false);
    }, "the store accepts a batch");
    await until(() => writer.deferred.isIdle, "the owner has merged what it may");
    await countByAnother(server);
    // Restored: batches 1 to 3, which it holds, and 5.
    assertEquals(await total(server), { packets: way === "emptied" ? 3000 : 12_000, devices: 3000 });
  }
});

Deno.test("RedisStore.apply() counts devices anew in a store that was emptied while nothing was deferred", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  writer.merges = -1;
  await writer.apply(batch(1, { devices: fleet(300, 1) }));
  await writer.apply(batch(2, { devices: fleet(300, 1) }));
  await untilCounted(server);
  await until(() => writer.deferred.isIdle, "the log has ended");
  await server.call("FLUSHALL");
  await server.call("SET", keys.layout, LAYOUT_VERSION);
  await writer.apply(batch(3, { devices: fleet(300, 1) }));
  await untilCounted(server);
  assertEquals(await total(server), { packets: 300, devices: 300 });
});

Deno.test("RedisStore.apply(): a batch of new devices alone shows that the store was emptied, too", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using store = await disposableStore(server);
  writer.merges = -1;
  await writer.apply(batch(1, { devices: [delta("a", 1)] }));
  await writer.apply(batch(2, { devices: [delta("a", 1)] }));
  await untilCounted(server);
  await until(() => writer.deferred.isIdle, "the log has ended");
  await server.call("FLUSHALL");
  await server.call("SET", keys.layout, LAYOUT_VERSION);
  await writer.apply({ ...batch(3, { devices: [delta("b", 1)] }), previous: 2 });
  await writer.apply({ ...batch(4, { devices: [delta("a", 2)] }), previous: 3 });
  await untilCounted(server);
  assertEquals(await countsOf(store), { a: 2, b: 1 });
});

Deno.test("RedisStore.remove(): packets that wait in a log are removed with their device, and later ones count from zero", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using store = await disposableStore(server);
  await writer.apply(batch(1, { devices: [delta("a", 1), delta("b", 1)] }));
  await writer.apply(batch(2, { devices: [delta("a", 2), delta("b", 2)] }));
  assert(await store.remove("a"));
  writer.merges = -1;
  await untilCounted(server);
  assertEquals(await countsOf(store), { b: 3 });
  assertEquals(await store.removedPackets(), 3);
  await writer.apply(batch(3, { devices: [delta("a", 4), delta("b", 4)] }));
  await untilCounted(server);
  assertEquals(await countsOf(store), { a: 4, b: 7 });
});

Deno.test("RedisStore.apply() checks limits of devices that were removed while they were known", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using store = await disposableStore(server);
  writer.merges = -1;
  const deviceLimits = { maxDevices: 2, maxNewPerMinute: 100 };
  await writer.apply({ ...batch(1, { devices: [delta("a", 1), delta("b", 1)] }), deviceLimits });
  assert(await store.remove("a"));
  await store.apply({ ...batch(1, { devices: [delta("c", 1)] }), producer: "other" });
  const refused = await writer.apply({
    ...batch(2, { devices: [delta("b", 1), delta("a", 1)] }),
    deviceLimits,
  });
  assertEquals(refused, [{ kind: "refused", deviceId: "a", limit: "maxDevices" }]);
  await untilCounted(server);
  assertEquals(await countsOf(store), { b: 2, c: 1 });
});

Deno.test("RedisStore.markOffline() takes no silence for certain while packets wait in a log", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using store = await disposableStore(server);
  await writer.apply(batch(1, { devices: [delta("a", 1)] }));
  await writer.apply({ ...batch(2, { devices: [delta("a", 1)] }), receivedAtMs: now + 30_000 });
  // Silent for a minute, by its record; but packets since 30 seconds after that are not counted yet.
  assertEquals(await store.markOffline(["a"], now + 1, now + 60_001), 0);
  writer.merges = -1;
  await untilCounted(server);
  assertEquals(await store.markOffline(["a"], now + 30_001, now + 90_001), 1);
});

Deno.test("RedisStore.status() has the age of the oldest packets in logs", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await using store = await disposableStore(server);
  const startedMs = Date.now();
  await writer.apply({ ...batch(1, { devices: [delta("a", 1)] }), receivedAtMs: startedMs - 90_000 });
  assertEquals((await store.status()).countsLateMs, 0);
  await writer.apply({ ...batch(2, { devices: [delta("a", 1)] }), receivedAtMs: startedMs - 60_000 });
  await writer.apply({ ...batch(3, { devices: [delta("a", 1)] }), receivedAtMs: startedMs });
  const { countsLateMs } = await store.status();
  assert(Math.abs(countsLateMs! - 60_000 - (Date.now() - startedMs)) < 1_000, `${countsLateMs}`);
  writer.merges = -1;
  await untilCounted(server);
  assertEquals((await store.status()).countsLateMs, 0);
});

Deno.test("RedisStore.apply() as a user without PERSIST counts all at once", async () => {
  await using server = await startRedis();
  await server.call("ACL", "SETUSER", "default", "-persist");
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(300, 1) }));
  await writer.apply(batch(2, { devices: fleet(300, 1) }));
  assertEquals(await total(server), { packets: 600, devices: 300 });
});

Deno.test("RedisStore.close() counts what is deferred before it resolves", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(3000, 1) }));
  await writer.apply(batch(2, { devices: fleet(3000, 1) }));
  assertEquals(await total(server), { packets: 3000, devices: 3000 });
  writer.merges = -1;
  await writer.deferred.close(10_000);
  assertEquals(await total(server), { packets: 6000, devices: 3000 });
});

Deno.test("RedisStore.apply() appends to its log a segment whose reply was lost, also if the batch comes in another object", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(300, 1) }));
  const second = writer.numbered(batch(2, { devices: fleet(300, 1) }));
  writer.losesReply = true;
  await assertRejects(() => writer.packets.apply(second), StoreError);
  await writer.packets.apply({ ...second, devices: [...second.devices] });
  writer.merges = -1;
  await writer.apply(batch(3, { devices: fleet(300, 1) }));
  await untilCounted(server);
  assertEquals(await total(server), { packets: 900, devices: 300 });
});

Deno.test("RedisStore merges each part once while batches come", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  writer.merges = -1;
  for (let sequence = 1; sequence <= 60; sequence++) {
    const { sent } = writer;
    await writer.apply(batch(sequence, { devices: fleet(1500, 1) }));
    // The next one comes while merging spares the store, and nothing is left in the log.
    if (sequence > 1) await until(() => writer.sent > sent, "a part is merged");
  }
  await untilCounted(server);
  assertEquals(await total(server), { packets: 90_000, devices: 1500 });
  assertEquals(writer.refused, 0);
});

Deno.test("RedisStore.apply() still defers when the rest of the log is merged while a segment is on its way", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(1500, 1) }));
  await writer.apply({ ...batch(2, { devices: fleet(1500, 1) }), previous: 1 });
  writer.beforeNext = async () => {
    writer.merges = -1;
    await untilCounted(server);
    writer.merges = 0;
  };
  await writer.apply({ ...batch(3, { devices: fleet(1500, 1) }), previous: 2 });
  assertEquals(writer.deferred.amount.packets, 1500);
  writer.merges = -1;
  await untilCounted(server);
  assertEquals(await total(server), { packets: 4500, devices: 1500 });
});

Deno.test("RedisStore.apply() still defers after the replies to all merges of a log were lost", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  await writer.apply(batch(1, { devices: fleet(1500, 1) }));
  await writer.apply({ ...batch(2, { devices: fleet(1500, 1) }), previous: 1 });
  writer.losesMergeReplies = true;
  writer.merges = -1;
  await until(() => writer.deferred.isIdle, "the log is merged");
  assertEquals(writer.deferred.amount.packets, 0);
  assertEquals(await total(server), { packets: 3000, devices: 1500 });
  writer.merges = 0;
  await writer.apply({ ...batch(3, { devices: fleet(1500, 1) }), previous: 2 });
  assertEquals(writer.deferred.amount.packets, 1500);
  writer.merges = -1;
  await untilCounted(server);
  assertEquals(await total(server), { packets: 4500, devices: 1500 });
});

Deno.test("RedisStore.apply() waits while a log has no room", async () => {
  await using server = await startRedis();
  await using writer = await DeferringWriter.open(server);
  const large = (sequence: number) => {
    const payload = "x".repeat(60_000);
    return batch(sequence, {
      devices: Array.from({ length: 500 }, (_, i) => delta(`s-${i}`, 1, 1000, payload)),
    });
  };
  await writer.apply(large(1));
  let applied = 1;
  const all = (async () => {
    for (let sequence = 2; sequence <= 6; sequence++) {
      await writer.apply(large(sequence));
      applied = sequence;
    }
  })();
  // 30 MB each: there is room until there are 64.
  await until(() => applied === 4, "the log is full");
  await server.call("PING");
  assertEquals(applied, 4);
  writer.merges = -1;
  await all;
  await untilCounted(server);
  assertEquals((await total(server)).packets, 3000);
});

async function disposableStore(server: RedisServer) {
  const store = await openStore(server);
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
