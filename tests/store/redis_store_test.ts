/**
 * The Redis store on a healthy server: the contract, and what is kept.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";

import { getLogger, type Logger } from "@logtape/logtape";

import {
  changesKey,
  countsKey,
  deliveredKey,
  deliveryOwnerKey,
  eventsKey,
  fleetKey,
  historiesKey,
  instancesKey,
  layoutKey,
  lineageKey,
  payloadsKey,
  probeKey,
  producerKey,
  recordsKey,
  sessionKey,
  setAsideKey,
  versionKey,
} from "../../src/store/redis/keys.ts";
import { ForeignCounts } from "../../src/store/model/foreign_counts.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore, withStore } from "../support/redis_store.ts";
import { testStoreContract } from "../contracts/store_contract.ts";
import { talkEveryHourThenEveryMinute } from "../contracts/store_monitor_contract.ts";

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
    await store.apply(batch(7, { devices, sessions: [advance("s", epoch, 0, 3)] }));
    await store.ping();

    assertEquals(await server.call("HGETALL", "device_metrics"), ["a", "2", "b", "1"]);
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
  const keys = [
    ...[countsKey, recordsKey, payloadsKey, historiesKey, versionKey, changesKey, eventsKey],
    ...[deliveredKey, deliveryOwnerKey, instancesKey, fleetKey("second", 1), fleetKey("hour", now)],
    ...[layoutKey, probeKey, producerKey("{x}"), sessionKey("a}{b"), sessionKey("{}")],
    ...await server.call("KEYS", "*") as string[],
  ];
  await using cluster = await startRedis({ "cluster-enabled": "yes" });
  const slots = await Promise.all(keys.map((key) => cluster.call("CLUSTER", "KEYSLOT", key)));
  assertEquals(new Set(slots).size, 1);
});

Deno.test("RedisStore: sessions and producers expire, and each use extends them", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const week = 7 * 24 * 3_600_000;
    const expiresIn = async (key: string) => Number(await server.call("PTTL", key));
    const { epoch } = await store.claimSession("s", 0, now);
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

Deno.test("RedisStore: a device counted only by another program has a count and no times", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await server.call("HINCRBY", countsKey, "theirs", 4);
    const unknown = {
      firstSeenMs: 0,
      lastSeenMs: 0,
      timestampMs: 0,
      online: true,
      payload: new Uint8Array(),
    };
    assertEquals(await store.device("theirs"), { deviceId: "theirs", count: 4, ...unknown });
    await store.apply(batch(1, { devices: [delta("theirs", 1)] }));
    await server.call("HINCRBY", countsKey, "theirs", 1);
    assertEquals((await store.device("theirs"))?.count, 6);
    assertEquals((await store.device("theirs"))?.firstSeenMs, now);
  });
});

Deno.test("RedisStore: large counts are exact and written in plain decimal", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const count = 2 ** 53 - 2;
    await server.call("HSET", countsKey, "a", count);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await store.apply(batch(2, { devices: [delta("b", count)] }));
    assertEquals(await server.call("HGETALL", countsKey), ["a", "9007199254740991", "b", "9007199254740990"]);
    const { seconds } = await store.fleetHistory(now);
    assertEquals(seconds.at(-1)?.packets, count + 1);
  });
});

Deno.test("RedisStore.apply() refuses the whole batch for a foreign value, and names it", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const both = batch(1, { devices: [delta("a", 1), delta("z", 1)] });
    await server.call("HSET", recordsKey, "z", "something else");
    await assertRejects(() => store.apply(both), StoreError, "of device z");
    await server.call("HDEL", recordsKey, "z");
    await server.call("SET", sessionKey("s"), "open");
    await assertRejects(() => store.claimSession("s", 0, now), StoreError, "open");
    assertEquals(await countsOf(store), {});
    assertEquals(await store.apply(both), []);
    assertEquals(await countsOf(store), { a: 1, z: 1 });
  });
});

/** What another program may have written as a count, and what Tally makes of it: a count, or nothing. */
const writtenCounts: [value: string, count: number | undefined][] = [
  ["7", 7],
  ["007", 7],
  [`${2 ** 53 - 2}`, 2 ** 53 - 2],
  ["many", undefined],
  ["", undefined],
  ["1.5", undefined],
  ["-3", undefined],
  ["1e3", undefined],
  ["0x10", undefined],
  [" 5 ", undefined],
  ["nan", undefined],
  ["inf", undefined],
  [`${2 ** 53}`, undefined],
  ["9".repeat(400), undefined],
];

Deno.test("RedisStore: an invalid count is set aside and logged once, and other devices are not affected", async () => {
  await using server = await startRedis();
  const warnings: string[] = [];
  const log = { ...getLogger(["tally", "test"]), info() {}, warn: recordInto(warnings) } as unknown as Logger;
  const store = await openRedisStore({
    url: server.url,
    ackAfter: { kind: "stored" },
    commandTimeoutMs: 2000,
    log,
  });
  try {
    for (const [i, [value]] of writtenCounts.entries()) await server.call("HSET", countsKey, `d${i}`, value);
    const before = writtenCounts.flatMap(([, count], i) => count === undefined ? [] : [[`d${i}`, count]]);
    for (let reading = 0; reading < 2; reading++) {
      assertEquals(await countsOf(store), Object.fromEntries(before));
      const ids = writtenCounts.map((_, i) => `d${i}`);
      assertEquals((await store.summaries(ids)).length, before.length);
      assertEquals(await store.device("d3"), undefined);
      assertEquals(await store.history("d3", now), undefined);
    }
    const named = (part: string) => warnings.filter((warning) => warning.includes(part)).length;
    assertEquals(named("the count of"), writtenCounts.length - before.length);
    assertEquals(named("holds many as the count of d3"), 1);

    const devices = writtenCounts.map((_, i) => delta(`d${i}`, 2));
    assertEquals(await store.apply(batch(1, { devices })), []);
    assertEquals(await store.apply(batch(1, { devices })), []);
    const after = writtenCounts.map(([, count], i): [string, number] => {
      const goesOn = count !== undefined && Number.isSafeInteger(count + 2);
      return [`d${i}`, goesOn ? count + 2 : 2];
    });
    assertEquals(await countsOf(store), Object.fromEntries(after.sort(([a], [b]) => a < b ? -1 : 1)));
    const aside = await server.call("HGETALL", setAsideKey) as string[];
    assertEquals(aside.length / 2, writtenCounts.length - 2);
    assertEquals(aside[aside.indexOf("d3") + 1], "many");
    assertEquals(aside[aside.indexOf("d2") + 1], `${2 ** 53 - 2}`);
    assertEquals(named(`the value is kept in ${setAsideKey}`), writtenCounts.length - 2);
    assertEquals((await store.fleetHistory(now)).seconds.at(-1)?.packets, 2 * writtenCounts.length);
  } finally {
    await store.close();
  }
});

Deno.test("ForeignCounts logs a hundred devices, each once, and then that there are more", () => {
  const warnings: string[] = [];
  const foreign = new ForeignCounts("device_metrics", { warn: recordInto(warnings) });
  for (let i = 0; i < 1000; i++) foreign.found(`d${i % 500}`, "x".repeat(1000));
  assertEquals(warnings.length, 101);
  assert(warnings.every(({ length }) => length < 400));
});

/** Fills in the properties as the log does. */
function recordInto(lines: string[]) {
  return (message: string, properties: Record<string, unknown> = {}) => {
    lines.push(message.replace(/\{(\w+)\}/g, (_, name) => String(properties[name])));
  };
}

Deno.test("RedisStore.apply() refuses the whole batch for a key of another type, before it writes", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const at = (sequence: number, receivedAtMs: number, devices = [delta("a", 1), delta("z", 1)]) =>
      store.apply({ ...batch(sequence, { devices }), receivedAtMs });
    await at(1, now);
    await store.markOffline(["a"], now + 1, now + 1);
    // Later, so that the batch ends a minute and brings a device back.
    const later = now + 120_000;
    const fleetKeys = (["second", "minute", "hour"] as const).map((period) => fleetKey(period, later));
    const keys = [payloadsKey, historiesKey, versionKey, changesKey, eventsKey, ...fleetKeys];
    for (const key of keys) {
      const kept = await server.call("EXISTS", key) === 1;
      if (kept) await server.call("RENAME", key, `${key}:kept`);
      await server.call("SADD", key, "theirs");
      await assertRejects(() => at(2, later), StoreError, "WRONGTYPE");
      assertEquals((await store.summaries(["a"]))[0]?.lastSeenMs, now, key);
      assertEquals(await server.call("SMEMBERS", key), ["theirs"]);
      await server.call("DEL", key);
      if (kept) await server.call("RENAME", `${key}:kept`, key);
    }
    for (const [key, command, ...args] of foreignValues(later)) {
      if (await server.call("EXISTS", key) === 1) await server.call("COPY", key, `${key}:kept`);
      await server.call(command!, key, ...args);
      await assertRejects(() => at(2, later), StoreError);
      assertEquals((await store.summaries(["a"]))[0]?.lastSeenMs, now, key);
      await server.call("DEL", key);
      if (await server.call("EXISTS", `${key}:kept`) === 1) await server.call("RENAME", `${key}:kept`, key);
    }
    assertEquals(await countsOf(store), { a: 1, z: 1 });
    assertEquals(await at(2, later), []);
    assertEquals(await countsOf(store), { a: 2, z: 2 });
    assertEquals((await store.events(0, 10)).map(({ kind }) => kind), ["offline", "online"]);
  });
});

/** Values that Tally does not write, and how they get there. */
function foreignValues(atMs: number): [key: string, command: string, ...args: string[]][] {
  return [
    [versionKey, "SET", "many"],
    [eventsKey, "RPUSH", "something"],
    [historiesKey, "HSET", "a", "x"],
    [fleetKey("second", atMs), "HSET", `${atMs / 1000}`, "many"],
  ];
}

Deno.test("RedisStore: a history holds 59 complete minutes and 23 complete hours, and no more", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    for (const [i, receivedAtMs] of talkEveryHourThenEveryMinute().entries()) {
      await store.apply({ ...batch(i + 1, { devices: [delta("a", 1)] }), receivedAtMs });
    }
    assertEquals(await server.call("HSTRLEN", historiesKey, "a"), 4 + 59 + 23);
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
      const leftMs = Number(await server.call("PTTL", fleetKey(period, now)));
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
    await server.call("SET", lineageKey, "1700000000000 0");
    assertEquals((await store.claimSession("idle", 5, now)).lost, 0);
    await store.apply(batch(2, { devices: [delta("a", 1)] }));
    assertEquals(await server.call("GET", lineageKey), "1700000000000 0");
    await store.apply(batch(5, { devices: [delta("a", 1)] })); // number 4 is not there
    assertMatch(String(await server.call("GET", lineageKey)), /^1700000000000 \d{13}$/);
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
        await server.call("HDEL", countsKey, ...others);
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
    await server.call("HSET", recordsKey, "a", "many");
    const secret = batch(1, { devices: [delta("a", 1, 1, "secret payload")] });
    const error = await assertRejects(() => store.apply(secret), StoreError);
    const shown = Deno.inspect(error, { depth: 10, iterableLimit: 10_000, strAbbreviateSize: 10_000 });
    assert(!/hush|secret|args/.test(shown), shown);
  });
});
