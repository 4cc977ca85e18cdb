/**
 * The Redis store when its server is lost, silent, full, read-only, or slow to make data safe.
 *
 * @module
 */
import { assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";

import { shardCountKey, shardKeys } from "../../src/store/redis/keys.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { openStore, untilStored, withStore } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

const keys = shardKeys();

Deno.test("RedisStore loads its scripts again after SCRIPT FLUSH", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    for (let sequence = 1; sequence <= 3; sequence++) {
      await server.call("SCRIPT", "FLUSH");
      const { epoch, committed } = await store.claimSession("s", 0, now);
      const sessions = [advance("s", epoch, committed, committed + 1)];
      assertEquals(await store.apply(batch(sequence, { devices: [delta("a", 1)], sessions })), []);
      assertEquals((await store.device("a"))?.count, sequence);
    }
    await server.call("SCRIPT", "FLUSH");
    assertEquals(await store.remove("a"), true);
  });
});

Deno.test("RedisStore.apply() rejects when the connection is killed, and the repeated batch counts once", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await server.call("CLIENT", "PAUSE", 10_000, "WRITE");
    const second = batch(2, { devices: [delta("a", 1)] });
    const lost = assertRejects(() => store.apply(second), StoreError);
    await until(async () => /cmd=eval/.test(String(await server.call("CLIENT", "LIST"))), "Redis has it");
    await server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    await lost;
    await server.call("CLIENT", "UNPAUSE");
    assertEquals(await untilStored(() => store.apply(second)), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 2 });
  });
});

Deno.test("RedisStore.apply() rejects in time when Redis hangs, and the repeated batch counts once", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    server.pause();
    const second = batch(2, { devices: [delta("a", 1)] });
    const error = await assertRejects(() => store.apply(second), StoreError);
    assertMatch(
      error.message,
      /could not apply a batch of 1 devices and 0 sessions on Redis at 127\.0\.0\.1/,
    );
    await assertRejects(() => store.apply(second), StoreError);
    await assertRejects(() => store.claimSession("s", 0, now), StoreError);
    await assertRejects(() => store.ping(), StoreError);
    await assertRejects(() => store.device("a"), StoreError);
    await assertRejects(() => countsOf(store), StoreError);
    await assertRejects(() => store.remove("a"), StoreError);
    server.resume();
    // What was sent to the connection given up is still read and run.
    await until(async () => await server.call("HGET", keys.counts, "a") === "2", "it ran");
    assertEquals(await untilStored(() => store.apply(second)), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 2 });
  }, { commandTimeoutMs: 150 });
});

Deno.test("RedisStore reconnects to a Redis that was killed and restarted", async () => {
  await using server = await startRedis({ appendonly: "yes", appendfsync: "always" });
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await server.kill9();
    const second = batch(2, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(second), StoreError);
    await until(
      () =>
        store.ping().then(() => false, (error) => /there is no connection \(.*refused/i.test(error.message)),
      "no connection is made",
    );
    await server.start();
    assertEquals(await untilStored(() => store.apply(second)), []);
    assertEquals(await store.apply(second), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 2 });
  });
});

Deno.test("RedisStore rejects while Redis loads its data, and succeeds afterwards", async () => {
  await using server = await startRedis({
    save: "3600 1",
    "key-load-delay": "200",
    "loading-process-events-interval-bytes": "1024",
  });
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    // 2,500 keys take half a second to load.
    const fillScript = "for i = 1, 2500 do redis.call('SET', 'filler' .. i, string.rep('x', 100)) end";
    await server.call("EVAL", fillScript, 0);
    await server.call("SAVE");
    await server.kill9();
    const started = server.start();
    const isLoading = (error: Error) => error.message.startsWith("LOADING");
    await until(() => server.call("PING").then(() => false, isLoading), "it loads");
    await assertRejects(() => store.apply(batch(2, { devices: [delta("a", 1)] })), StoreError);
    await started;
    assertEquals(await untilStored(() => store.apply(batch(2, { devices: [delta("a", 1)] }))), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 2 });
  });
});

Deno.test("openRedisStore() succeeds before Redis is started", async () => {
  await using server = await startRedis();
  await server.kill9();
  await withStore(server, async (store) => {
    await assertRejects(() => store.ping(), StoreError);
    await server.start();
    await untilStored(() => store.ping());
    assertEquals(await store.apply(batch(1, { devices: [delta("a", 1)] })), []);
  });
});

Deno.test("RedisStore.close(): later calls reject, also while Redis is down", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  await store.close();
  await assertRejects(() => store.ping(), StoreError, "there is no connection (closed)");
  await assertRejects(() => store.apply(batch(1, {})), StoreError);
  await store.close();

  const without = await openStore(server);
  await server.kill9();
  await assertRejects(() => without.ping(), StoreError);
  await without.close();
});

Deno.test("RedisStore.apply() out of memory writes nothing, and the repeated batch is applied when there is room", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const { epoch } = await store.claimSession("s", 0, now);
    const devices = Array.from({ length: 2500 }, (_, i) => delta(`device-${i}`, 1));
    const big = batch(1, { devices, sessions: [advance("s", epoch, 0, 2500)] });
    await server.call("CONFIG", "SET", "maxmemory", 1);
    await assertRejects(() => store.apply(big), StoreError, "OOM");
    await assertRejects(() => store.apply(batch(1, { sessions: big.sessions })), StoreError, "OOM");
    await assertRejects(() => store.ping(), StoreError, "OOM");
    const found = await server.call("KEYS", "*") as string[];
    assertEquals(
      found.toSorted(),
      [keys.layout, keys.lineage, keys.session("s"), keys.sessions, shardCountKey].toSorted(),
    );
    assertEquals(await server.call("GET", keys.session("s")), `${epoch} 0`);
    await server.call("CONFIG", "SET", "maxmemory", 0);
    assertEquals(await store.apply(big), []);
    // A batch applied before is recognised even without memory.
    await server.call("CONFIG", "SET", "maxmemory", 1);
    assertEquals(await store.apply(big), []);
    assertEquals(Object.keys(await countsOf(store)).length, 2500);
    await assertRejects(() => store.markOffline(["device-1"], now + 1, now), StoreError, "OOM");
    assertEquals(await store.events(0, 1), []);
    assertEquals((await store.device("device-1"))?.online, true);
    // What is deleted makes room.
    const { version } = await store.changes();
    assertEquals(await store.remove("device-1"), true);
    assertEquals((await store.changes(version)).devices, new Map([["device-1", undefined]]));
  });
});

Deno.test("RedisStore rejects on a read-only replica, and succeeds once it is promoted", async () => {
  await using master = await startRedis(replicatesAtOnce);
  await using replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
  await until(
    async () => /master_link_status:up/.test(String(await replica.call("INFO", "replication"))),
    "it replicates",
  );
  await withStore(replica, async (store) => {
    // Opening it may have made it connect anew already.
    const isReadOnly = (error: Error) => error instanceof StoreError && error.message.includes("READONLY");
    await until(() => store.ping().then(() => false, isReadOnly), "it rejects as read-only");
    // After a failover the name may lead to another server: the store connects anew.
    const connections = async () =>
      String(await replica.call("CLIENT", "LIST")).match(/id=\d+.*name=tally-writes/g);
    const ids = async () => (await connections())?.map((line) => line.split(" ")[0]);
    await until(async () => (await ids())?.length === 1, "it is connected");
    const before = await ids();
    await until(async () => {
      await assertRejects(() => store.apply(batch(1, { devices: [delta("a", 1)] })), StoreError);
      return (await ids())?.toString() !== before?.toString();
    }, "it connects anew");
    await replica.call("REPLICAOF", "NO", "ONE");
    assertEquals(await untilStored(() => store.apply(batch(1, { devices: [delta("a", 1)] }))), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 1 });
  });
});

Deno.test("ackAfter replicated: apply() waits for a replica, and a batch that timed out counts once", async () => {
  await using master = await startRedis(replicatesAtOnce);
  const ackAfter = { kind: "replicated", replicas: 1 } as const;
  await withStore(master, async (store) => {
    const first = batch(1, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(first), StoreError, "0 of 1 replicas");
    await assertRejects(() => store.apply(first), StoreError, "0 of 1 replicas");

    await using replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
    assertEquals(await untilStored(() => store.apply(first)), []);
    assertEquals(await replica.call("HGET", keys.counts, "a"), "1");
    for (let sequence = 2; sequence < 20; sequence++) {
      await untilStored(() => store.apply(batch(sequence, { devices: [delta("a", 1)] })));
      assertEquals(await replica.call("HGET", keys.counts, "a"), String(sequence));
    }

    // Sent again while the replica is stopped: applied, but not yet replicated.
    replica.pause();
    const last = batch(20, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(last), StoreError, "0 of 1 replicas");
    await assertRejects(() => store.apply(last), StoreError, "0 of 1 replicas");
    assertEquals(await countsOf(store), { a: 20 });
    replica.resume();
    assertEquals(await untilStored(() => store.apply(last)), []);
    assertEquals(await replica.call("HGET", keys.counts, "a"), "20");
  }, { ackAfter, commandTimeoutMs: 400 });
});

Deno.test("ackAfter replicated: claimSession() waits for the replica, many claims in one WAIT", async () => {
  await using master = await startRedis(replicatesAtOnce);
  await using replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
  const ackAfter = { kind: "replicated", replicas: 1 } as const;
  await withStore(master, async (store) => {
    const first = await untilStored(() => store.claimSession("s", 0, now));
    assertEquals(await replica.call("GET", keys.session("s")), `${first.epoch} 0`);

    replica.pause();
    const startedAtMs = performance.now();
    const claims = Array.from({ length: 100 }, (_, i) => store.claimSession(`s${i % 50}`, 0, now));
    for (const claim of await Promise.allSettled(claims)) {
      assertEquals(claim.status, "rejected");
      assertMatch(String((claim as PromiseRejectedResult).reason), /0 of 1 replicas/);
    }
    // One after the other would take 200 ms each.
    assertLess(performance.now() - startedAtMs, 5000);
    replica.resume();

    const again = await untilStored(() => store.claimSession("s0", 0, now));
    assertEquals(await replica.call("GET", keys.session("s0")), `${again.epoch} 0`);
    await promote(replica);
    await withStore(replica, async (store) => {
      const sessions = [advance("s", first.epoch, 0, 1), advance("s0", again.epoch, 0, 1)];
      assertEquals(await store.apply(batch(1, { devices: [delta("a", 2)], sessions })), []);
    });
  }, { ackAfter, commandTimeoutMs: 400 });
});

Deno.test("RedisStore.claimSession() refuses a foreign session key, and no other claim", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await server.call("SET", keys.session("theirs"), "open");
    const claims = ["before", "theirs", "after", "after"].map((session) =>
      store.claimSession(session, 3, now)
    );
    const settled = await Promise.allSettled(claims);
    assertEquals(settled.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    assertMatch(String((settled[1] as PromiseRejectedResult).reason), /:session:theirs holds .* open$/);
    const [one, other] = [await claims[2]!, await claims[3]!];
    assertLess(one.epoch, other.epoch);
  });
});

Deno.test("ackAfter synced: apply() waits for the append-only file; a server without one is refused", async () => {
  const ackAfter = { kind: "synced" } as const;
  await using server = await startRedis({ appendonly: "yes", appendfsync: "everysec" });
  const version = /redis_version:(\d+)\.(\d+)/.exec(String(await server.call("INFO", "server")));
  const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
  if (major < 7 || major === 7 && minor < 2) {
    await assertRejects(
      () => openStore(server, { ackAfter }),
      StoreError,
      `found version ${major}.${minor}.`,
    );
    return;
  }
  await withStore(server, async (store) => {
    for (let sequence = 1; sequence <= 3; sequence++) {
      assertEquals(await store.apply(batch(sequence, { devices: [delta("a", 1)] })), []);
      await server.restart();
      assertEquals(await untilStored(() => countsOf(store)), { a: sequence });
      await untilStored(() => store.ping());
    }
  }, { ackAfter, commandTimeoutMs: 5000 });

  await using memory = await startRedis({ appendonly: "no" });
  await assertRejects(() => openStore(memory, { ackAfter }), StoreError, "found appendonly off");
});

Deno.test("ackAfter synced: a store opened before its Redis is refused at the first connection", async () => {
  await using server = await startRedis({ appendonly: "no" });
  await server.kill9();
  await withStore(server, async (store) => {
    await server.start();
    const needs = 'acknowledging after "synced" needs Redis 7.2';
    const refused = (error: unknown) => error instanceof StoreError && error.message.startsWith(needs);
    await until(() => store.ping().then(() => false, refused), "it is refused");
    await assertRejects(() => store.apply(batch(1, { devices: [delta("a", 1)] })), StoreError, needs);
    assertEquals(await server.call("EXISTS", keys.counts), 0);
  }, { ackAfter: { kind: "synced" } });
});

/** As an operator, or a sentinel, does when the master is lost. */
async function promote(replica: RedisServer): Promise<void> {
  await replica.call("REPLICAOF", "NO", "ONE");
}

/** Instead of five seconds later. */
const replicatesAtOnce = { "repl-diskless-sync-delay": "0" };
