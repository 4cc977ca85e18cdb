/**
 * The Redis store against a real server: the contract, the keys, and faults.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { countsKey, devicesKey, probeKey, producerKey, sessionKey } from "../src/store/keys.ts";
import { openRedisStore } from "../src/store/redis.ts";
import { type AckAfter, type Store, StoreError } from "../src/store/store.ts";
import { advance, batch, claimed, countsOf, delta, now } from "./batches.ts";
import { type RedisServer, startRedis } from "./redis_server.ts";
import { testStoreContract } from "./store_contract.ts";
import { until } from "./until.ts";

testStoreContract("Redis", async () => {
  const server = await startRedis();
  return { open: () => openStore(server), [Symbol.asyncDispose]: () => server.stop() };
});

Deno.test("Other programs read counts with HGETALL, and every other key says what it is", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const { epoch } = claimed(await store.claimSession("s", 0, now));
    const devices = [delta("a", 2, 1234, "hot"), delta("b", 1, 5678, "cold")];
    await store.apply(batch(7, { devices, sessions: [advance("s", epoch, 0, 3)] }));
    await store.ping();

    assertEquals(await server.call("HGETALL", "device_metrics"), ["a", "2", "b", "1"]);
    assertEquals(await server.call("HGETALL", "tally:{device_metrics}:devices"), [
      ...["a", `${now} ${now} 1234 hot`],
      ...["b", `${now} ${now} 5678 cold`],
    ]);
    assertEquals(await server.call("GET", "tally:{device_metrics}:session:s"), "1 3");
    assertEquals(await server.call("GET", "tally:{device_metrics}:producer:p"), "7");
  });
});

Deno.test("All keys lie in one slot of a cluster, whatever the ids hold", async () => {
  await using server = await startRedis({ "cluster-enabled": "yes" });
  await server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
  await until(async () => /cluster_state:ok/.test(String(await server.call("CLUSTER", "INFO"))), "it serves");
  await withStore(server, async (store) => {
    const id = "{a}{b}";
    const { epoch } = claimed(await store.claimSession(id, 0, now));
    const sessions = [advance(id, epoch, 0, 1)];
    assertEquals(await store.apply({ ...batch(1, { devices: [delta(id, 1)], sessions }), producer: id }), []);
    assertEquals((await store.device(id))?.count, 1);
  });
  const keys = [countsKey, devicesKey, probeKey, producerKey("{x}"), sessionKey("a}{b"), sessionKey("{}")];
  const slots = await Promise.all(keys.map((key) => server.call("CLUSTER", "KEYSLOT", key)));
  assertEquals(new Set(slots).size, 1);
});

Deno.test("Sessions and producers expire, and each use puts that off", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const week = 7 * 24 * 3_600_000;
    const expiresIn = async (key: string) => Number(await server.call("PTTL", key));
    const { epoch } = claimed(await store.claimSession("s", 0, now));
    assert(await expiresIn(sessionKey("s")) > week - 60_000);
    const first = batch(1, { sessions: [advance("s", epoch, 0, 1)] });

    await server.call("PEXPIRE", sessionKey("s"), 60_000);
    await store.apply(first);
    assert(await expiresIn(sessionKey("s")) > week - 60_000);
    assert(await expiresIn(producerKey("p")) > week - 60_000);

    await server.call("PEXPIRE", sessionKey("s"), 60_000);
    await server.call("PEXPIRE", producerKey("p"), 60_000);
    await store.claimSession("s", 1, now);
    await store.apply(first);
    assert(await expiresIn(sessionKey("s")) > week - 60_000);
    assert(await expiresIn(producerKey("p")) > week - 60_000);
  });
});

Deno.test("A device that only another program counted has a count and no times", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await server.call("HINCRBY", countsKey, "theirs", 4);
    const unknown = { firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, payload: new Uint8Array() };
    assertEquals(await store.device("theirs"), { deviceId: "theirs", count: 4, ...unknown });
    await store.apply(batch(1, { devices: [delta("theirs", 1)] }));
    await server.call("HINCRBY", countsKey, "theirs", 1);
    assertEquals((await store.device("theirs"))?.count, 6);
    assertEquals((await store.device("theirs"))?.firstSeenMs, now);
  });
});

Deno.test("A value Tally did not write stops the whole batch, and the message names it", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const both = batch(1, { devices: [delta("a", 1), delta("z", 1)] });
    await server.call("HSET", countsKey, "z", "many");
    await assertRejects(() => store.apply(both), StoreError, "many");
    await server.call("HDEL", countsKey, "z");
    await server.call("HSET", devicesKey, "z", "something else");
    await assertRejects(() => store.apply(both), StoreError, "of device z");
    await server.call("HDEL", devicesKey, "z");
    await server.call("SET", sessionKey("s"), "open");
    await assertRejects(() => store.claimSession("s", 0, now), StoreError, "open");
    assertEquals(await countsOf(store), {});
    assertEquals(await store.apply(both), []);
    assertEquals(await countsOf(store), { a: 1, z: 1 });
  });
});

Deno.test("Scripts flushed between two calls are sent again", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    for (let sequence = 1; sequence <= 3; sequence++) {
      await server.call("SCRIPT", "FLUSH");
      const { epoch, committed } = claimed(await store.claimSession("s", 0, now));
      const sessions = [advance("s", epoch, committed, committed + 1)];
      assertEquals(await store.apply(batch(sequence, { devices: [delta("a", 1)], sessions })), []);
      assertEquals((await store.device("a"))?.count, sequence);
    }
    await server.call("SCRIPT", "FLUSH");
    assertEquals(await store.remove("a"), true);
  });
});

Deno.test("A connection killed in mid-flight rejects, and the same batch counts once", async () => {
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

Deno.test("A silent Redis rejects in time, and a batch that ran unheard counts once", async () => {
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
    await until(async () => await server.call("HGET", countsKey, "a") === "2", "it ran");
    assertEquals(await untilStored(() => store.apply(second)), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 2 });
  }, { commandTimeoutMs: 150 });
});

Deno.test("A Redis that was killed is found again with its data, by itself", async () => {
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

Deno.test("A Redis that still loads its data rejects, and is used once it has", async () => {
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

Deno.test("A store may be opened before its Redis", async () => {
  await using server = await startRedis();
  await server.kill9();
  await withStore(server, async (store) => {
    await assertRejects(() => store.ping(), StoreError);
    await server.start();
    await untilStored(() => store.ping());
    assertEquals(await store.apply(batch(1, { devices: [delta("a", 1)] })), []);
  });
});

Deno.test("A store that is closed rejects, also while Redis is away", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  await store.close();
  await assertRejects(() => store.ping(), StoreError);
  await assertRejects(() => store.apply(batch(1, {})), StoreError);
  await store.close();

  const without = await openStore(server);
  await server.kill9();
  await assertRejects(() => without.ping(), StoreError);
  await without.close();
});

Deno.test("Out of memory applies nothing, and the same batch goes in when there is room", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const { epoch } = claimed(await store.claimSession("s", 0, now));
    const devices = Array.from({ length: 2500 }, (_, i) => delta(`device-${i}`, 1));
    const big = batch(1, { devices, sessions: [advance("s", epoch, 0, 2500)] });
    await server.call("CONFIG", "SET", "maxmemory", 1);
    await assertRejects(() => store.apply(big), StoreError, "OOM");
    await assertRejects(() => store.apply(batch(1, { sessions: big.sessions })), StoreError, "OOM");
    await assertRejects(() => store.ping(), StoreError, "OOM");
    assertEquals(await server.call("EXISTS", countsKey, devicesKey, producerKey("p")), 0);
    assertEquals(await server.call("GET", sessionKey("s")), `${epoch} 0`);
    await server.call("CONFIG", "SET", "maxmemory", 0);
    assertEquals(await store.apply(big), []);
    // A batch applied before is recognised even without memory.
    await server.call("CONFIG", "SET", "maxmemory", 1);
    assertEquals(await store.apply(big), []);
    assertEquals(Object.keys(await countsOf(store)).length, 2500);
  });
});

Deno.test("A read-only replica rejects, and serves once it is promoted", async () => {
  await using master = await startRedis(replicatesAtOnce);
  await using replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
  await until(
    async () => /master_link_status:up/.test(String(await replica.call("INFO", "replication"))),
    "it replicates",
  );
  await withStore(replica, async (store) => {
    await assertRejects(() => store.ping(), StoreError, "READONLY");
    await assertRejects(() => store.apply(batch(1, { devices: [delta("a", 1)] })), StoreError);
    await replica.call("REPLICAOF", "NO", "ONE");
    assertEquals(await untilStored(() => store.apply(batch(1, { devices: [delta("a", 1)] }))), []);
    assertEquals(await untilStored(() => countsOf(store)), { a: 1 });
  });
});

Deno.test("Replicated waits for a replica, and a batch that waited in vain counts once", async () => {
  await using master = await startRedis(replicatesAtOnce);
  const ackAfter = { kind: "replicated", replicas: 1 } as const;
  await withStore(master, async (store) => {
    const first = batch(1, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(first), StoreError, "0 of 1 replicas");
    await assertRejects(() => store.apply(first), StoreError, "0 of 1 replicas");

    await using replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
    assertEquals(await untilStored(() => store.apply(first)), []);
    assertEquals(await replica.call("HGET", countsKey, "a"), "1");
    for (let sequence = 2; sequence < 20; sequence++) {
      await store.apply(batch(sequence, { devices: [delta("a", 1)] }));
      assertEquals(await replica.call("HGET", countsKey, "a"), String(sequence));
    }

    // Sent again while the replica hears nothing: known, but not yet safe.
    replica.pause();
    const last = batch(20, { devices: [delta("a", 1)] });
    await assertRejects(() => store.apply(last), StoreError, "0 of 1 replicas");
    await assertRejects(() => store.apply(last), StoreError, "0 of 1 replicas");
    assertEquals(await countsOf(store), { a: 20 });
    replica.resume();
    assertEquals(await untilStored(() => store.apply(last)), []);
    assertEquals(await replica.call("HGET", countsKey, "a"), "20");
  }, { ackAfter, commandTimeoutMs: 400 });
});

Deno.test("Synced waits for the append-only file, or is refused by a server that cannot", async () => {
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

Deno.test("A synced store opened before its Redis is refused as soon as it can be", async () => {
  await using server = await startRedis({ appendonly: "no" });
  await server.kill9();
  await withStore(server, async (store) => {
    await server.start();
    const needs = 'acknowledging after "synced" needs Redis 7.2';
    const refused = (error: unknown) => error instanceof StoreError && error.message.startsWith(needs);
    await until(() => store.ping().then(() => false, refused), "it is refused");
    await assertRejects(() => store.apply(batch(1, { devices: [delta("a", 1)] })), StoreError, needs);
    assertEquals(await server.call("EXISTS", countsKey), 0);
  }, { ackAfter: { kind: "synced" } });
});

Deno.test("Neither the description nor an error shows a password or a payload", async () => {
  await using server = await startRedis({ requirepass: "hush" });
  await withStore(server, async (store) => {
    assertEquals(store.description, `Redis at 127.0.0.1:${server.port}`);
    await server.call("HSET", countsKey, "a", "many");
    const secret = batch(1, { devices: [delta("a", 1, 1, "secret payload")] });
    const error = await assertRejects(() => store.apply(secret), StoreError);
    const shown = Deno.inspect(error, { depth: 10, iterableLimit: 10_000, strAbbreviateSize: 10_000 });
    assert(!/hush|secret|args/.test(shown), shown);
  });
});

/** Instead of five seconds later. */
const replicatesAtOnce = { "repl-diskless-sync-delay": "0" };

const log = getLogger(["tally", "test"]);

interface StoreSettings {
  readonly ackAfter?: AckAfter;
  readonly commandTimeoutMs?: number;
}

function openStore(
  { url }: RedisServer,
  { ackAfter = { kind: "stored" }, commandTimeoutMs = 2000 }: StoreSettings = {},
): Promise<Store> {
  return openRedisStore({ url, ackAfter, commandTimeoutMs, log });
}

async function withStore(
  server: RedisServer,
  body: (store: Store) => Promise<void>,
  settings?: StoreSettings,
): Promise<void> {
  const store = await openStore(server, settings);
  try {
    await body(store);
  } finally {
    await store.close();
  }
}

/** Calls again, as the writer does, until the store takes it. */
async function untilStored<T>(call: () => Promise<T>): Promise<T> {
  let result: { value: T } | undefined;
  await until(async () => {
    result = await call().then((value) => ({ value }), rejectedByStore);
    return result !== undefined;
  }, "the store takes it");
  return result!.value;
}

function rejectedByStore(error: unknown): undefined {
  assertInstanceOf(error, StoreError);
}
