/**
 * The Redis store on a healthy server: the contract, and what is kept.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";

import { shardKeys } from "../../src/store/redis/keys.ts";
import { NEW_SESSION_EXPIRY_MS } from "../../src/store/packets.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { everyHourThenEveryMinute } from "../contracts/parts.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { startRedis } from "../support/redis_server.ts";
import { hashAt, openStore, untilStored, withStore } from "../support/redis_store.ts";

const keys = shardKeys();

testStoreContract("Redis", async () => {
  const server = await startRedis();
  return {
    location: { kind: "redis", url: server.url },
    open: () => openStore(server),
    snapshot: () => server.snapshot(),
    [Symbol.asyncDispose]: () => server.stop(),
  };
});

Deno.test("RedisStore layout: counts are a hash for HGETALL, and every key has a name and type of its own", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const { epoch } = await store.claimSession("s", 0, now);
    const devices = [delta("a", 2, 1234, "hot"), delta("b", 1, 5678, "cold")];
    // Of a producer that knows of none before it.
    await store.apply({ ...batch(7, { devices, sessions: [advance("s", epoch, 0, 3)] }), previous: 0 });
    await store.ping();

    assertEquals(await hashAt(server, "device_metrics"), { a: "2", b: "1" });
    const records = "tally:{device_metrics}:records", payloads = "tally:{device_metrics}:payloads";
    assertEquals(await server.call("HSTRLEN", records, "a"), 42 + "hot".length);
    assertMatch(String(await server.call("HGET", records, "b")), /cold$/);
    assertEquals(await server.call("EXISTS", payloads), 0);
    const long = "hot ".repeat(20);
    await store.apply(batch(8, { devices: [delta("a", 1, 2000, long)] }));
    assertEquals(await server.call("HGETALL", payloads), ["a", long]);
    assertEquals(await server.call("HSTRLEN", records, "a"), 42);
    await store.apply(batch(9, { devices: [delta("a", 1, 3000, "cool")] }));
    assertEquals(await server.call("EXISTS", payloads), 0);
    assertEquals(await server.call("HGETALL", `tally:{device_metrics}:fleet:second:${now / 60_000 | 0}`), [
      `${now / 1000}`,
      "5",
    ]);
    await store.markOffline(["a", "b"], now + 1, now + 2);
    const events = await server.call("LRANGE", "tally:{device_metrics}:events", 0, -1) as string[];
    assertMatch(events[0]!, new RegExp(`^\\d+ offline ${now + 2} ${now} a$`));
    assertEquals(await server.call("GET", "tally:{device_metrics}:session:s"), `${epoch} 3`);
    assertMatch(String(await server.call("GET", "tally:{device_metrics}:lineage")), /^\d{13} 0$/);
    assertEquals(await server.call("EXISTS", "tally:{device_metrics}:nothing"), 0);
    assertEquals(await server.call("GET", "tally:{device_metrics}:producer:p"), "9");
  });
});

Deno.test("RedisStore.changes() reads the changes of a batch without a command per device", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    const { version } = await store.changes();
    await store.apply(batch(2, { devices: [delta("a", 2), delta("b", 3)] }));
    const { devices } = await store.changes(version);
    assert(devices !== "all");
    assertEquals<unknown>([...devices.values()], await store.summaries(["a", "b"]));
  });
});

Deno.test("RedisStore: all keys are in one cluster slot, for any ids", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const id = "{a}{b}";
    const { epoch } = await store.claimSession(id, 0, now);
    const sessions = [advance(id, epoch, 0, 1)];
    const devices = [delta(id, 1, 1000, "long".repeat(100))];
    assertEquals(await store.apply({ ...batch(1, { devices, sessions }), producer: id }), []);
    assertEquals(await store.markOffline([id], now + 1, now), 1);
    assertEquals(await store.claimDelivery("me", 60_000, now), (await store.events(0, 1))[0]?.id);
  });
  const names = [
    ...[keys.counts, keys.records, keys.payloads, keys.histories, keys.version, keys.changes, keys.events],
    ...[keys.delivered, keys.deliveryOwner, keys.instances, keys.fleet("second", 1), keys.fleet("hour", now)],
    ...[
      keys.layout,
      keys.probe,
      keys.producer("{x}"),
      keys.session("a}{b"),
      keys.session("{}"),
      keys.sessions,
      keys.newDevices,
    ],
    ...await server.call("KEYS", "*") as string[],
  ];
  await using cluster = await startRedis({ "cluster-enabled": "yes" });
  const slots = await Promise.all(names.map((key) => cluster.call("CLUSTER", "KEYSLOT", key)));
  assertEquals(new Set(slots).size, 1);
});

Deno.test("RedisStore: sessions and producers expire, and each use extends them", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const week = 7 * 24 * 3_600_000;
    const expiresIn = async (key: string) => Number(await server.call("PTTL", key));
    const { epoch } = await store.claimSession("s", 0, now);
    const newExpiresIn = await expiresIn(keys.session("s"));
    assert(newExpiresIn > NEW_SESSION_EXPIRY_MS - 60_000 && newExpiresIn <= NEW_SESSION_EXPIRY_MS);
    const first = batch(1, { sessions: [advance("s", epoch, 0, 1)] });

    await server.call("PEXPIRE", keys.session("s"), 60_000);
    await store.apply(first);
    assert(await expiresIn(keys.session("s")) > week - 60_000);
    assert(await expiresIn(keys.producer("p")) > week - 60_000);

    await server.call("PEXPIRE", keys.session("s"), 2 * NEW_SESSION_EXPIRY_MS);
    await server.call("PEXPIRE", keys.producer("p"), 60_000);
    await store.claimSession("s", 1, now);
    await store.apply(first);
    assert(await expiresIn(keys.session("s")) > week - 60_000);
    assert(await expiresIn(keys.producer("p")) > week - 60_000);
  });
});

Deno.test("RedisStore: a session of which nothing is stored expires soon, however often it is claimed", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const key = keys.session("s"), expiresIn = async () => Number(await server.call("PTTL", key));
    for (const offset of [0, 5, 7]) {
      await store.claimSession("s", offset, now);
      assert(await expiresIn() <= NEW_SESSION_EXPIRY_MS);
      await server.call("PEXPIRE", key, 60_000);
    }
    const { epoch } = await store.claimSession("s", 7, now);
    assert(await expiresIn() <= 60_000);
    await store.apply(batch(1, { sessions: [advance("s", epoch, 7, 8)] }));
    assert(await expiresIn() > NEW_SESSION_EXPIRY_MS);
  });
});

Deno.test("RedisStore.claimSession() with maxSessions has room again for those that expired", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const limits = { maxSessions: 300, mayCreate: true };
    const claim = async (session: string) =>
      (await store.claimSession(session, 0, now, undefined, limits)).refused;
    for (let i = 0; i < 300; i++) assertEquals(await claim(`s${i}`), undefined);
    assertEquals(await claim("new 1"), "maxSessions");
    for (let i = 200; i < 300; i++) await server.call("PEXPIRE", keys.session(`s${i}`), 0);
    let made = 0;
    for (let i = 0; i < 110; i++) made += await claim(`later ${i}`) === undefined ? 1 : 0;
    assertEquals(made, 100);
    assertEquals(Number(await server.call("LLEN", keys.sessions)), 300);
  });
});

Deno.test("RedisStore: a history holds 59 complete minutes and 23 complete hours, and no more", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    for (const [i, receivedAtMs] of everyHourThenEveryMinute().entries()) {
      await store.apply({ ...batch(i + 1, { devices: [delta("a", 1)] }), receivedAtMs });
    }
    assertEquals(await server.call("HSTRLEN", keys.histories, "a"), 4 + 59 + 23);
  });
});

Deno.test("RedisStore: the fleet's history expires, and an emptied Redis repeats no version or event id", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const goOffline = async (sequence: number) => {
      await store.apply(batch(sequence, { devices: [delta("a", 1)] }));
      await store.markOffline(["a"], now + 1, now + 1);
      return { version: (await store.changes()).version, event: (await store.events(0, 1))[0]!.id };
    };
    const before = await goOffline(1);
    for (const [period, hours] of [["second", 0.5], ["minute", 2], ["hour", 48]] as const) {
      const leftMs = Number(await server.call("PTTL", keys.fleet(period, now)));
      assert(leftMs > 0 && leftMs <= hours * 3_600_000, `${period}: ${leftMs}`);
    }
    await server.call("FLUSHALL");
    const after = await goOffline(2);
    assertLess(before.version, after.version);
    assertLess(before.event, after.event);
    assertEquals((await store.changes(before.version)).devices, "all");
  });
});

Deno.test("RedisStore.apply() records that the store was restored, also if no session of the batch shows it", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await server.call("SET", keys.lineage, "1700000000000 0");
    assertEquals((await store.claimSession("idle", 5, now)).lost, 0);
    await store.apply(batch(2, { devices: [delta("a", 1)] }));
    assertEquals(await server.call("GET", keys.lineage), "1700000000000 0");
    await store.apply(batch(5, { devices: [delta("a", 1)] })); // number 4 is not there
    assertMatch(String(await server.call("GET", keys.lineage)), /^1700000000000 \d{13}$/);
    assertEquals((await store.claimSession("gone", 5, now)).lost, 5);
    assertEquals(await countsOf(store), { a: 3 });
  });
});

Deno.test("RedisStore.scan() yields a device once that HSCAN returns twice", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    // A hash that shrinks while it is scanned shows some fields again.
    const devices = Array.from({ length: 8000 }, (_, i) => delta(`device-${i}`, 1));
    await store.apply(batch(1, { devices }));
    const seen: string[] = [];
    for await (const page of store.scan()) {
      if (seen.length === 0) {
        const kept = new Set(page.slice(-300).map(({ deviceId }) => deviceId));
        const others = devices.map(({ deviceId }) => deviceId).filter((id) => !kept.has(id));
        await server.call("HDEL", keys.counts, ...others);
      }
      seen.push(...page.map(({ deviceId }) => deviceId));
    }
    assertEquals(seen.length, new Set(seen).size);
  });
});

Deno.test("RedisStore: neither description nor errors contain a password or a payload", async () => {
  await using server = await startRedis({ requirepass: "hush" });
  await withStore(server, async (store) => {
    assertEquals(store.description, `Redis at 127.0.0.1:${server.port}`);
    await server.call("HSET", keys.records, "a", "many");
    const secret = batch(1, { devices: [delta("a", 1, 1, "secret payload")] });
    const error = await assertRejects(() => store.apply(secret), StoreError);
    const shown = Deno.inspect(error, { depth: 10, iterableLimit: 10_000, strAbbreviateSize: 10_000 });
    assert(!/hush|secret|args/.test(shown), shown);
  });
});

Deno.test("RedisStore.apply() makes counts and records of a small fleet tables, again after a server has loaded them", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const encodings = async () => [
      await server.call("OBJECT", "ENCODING", keys.counts),
      await server.call("OBJECT", "ENCODING", keys.records),
    ];
    const tables = ["hashtable", "hashtable"];
    await store.apply(batch(1, { devices: [delta("a", 1), delta("b", 1)] }));
    assertEquals(await encodings(), tables);
    const putBack = await server.snapshot();
    await putBack();
    assertEquals(await encodings(), ["listpack", "listpack"]);
    for (let sequence = 2; sequence <= 65; sequence++) {
      await untilStored(() => store.apply(batch(sequence, { devices: [delta("a", 1)] })));
    }
    assertEquals(await encodings(), tables);
    assertEquals(await countsOf(store), { a: 65, b: 1 });
    assertEquals(await server.call("HLEN", keys.records), 2);
  });
});
