/**
 * The Redis store beside other programs: values that they wrote into Tally's keys.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";

import { getLogger, type Logger } from "@logtape/logtape";

import { ForeignCounts } from "../../src/store/model/foreign_counts.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { batch, countsOf, delta, now } from "../support/batches.ts";
import { startRedis } from "../support/redis_server.ts";
import { hashAt, withStore } from "../support/redis_store.ts";

const keys = shardKeys();

Deno.test("RedisStore: a device counted only by another program has a count and no times", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await server.call("HINCRBY", keys.counts, "theirs", 4);
    const unknown = {
      firstSeenMs: 0,
      lastSeenMs: 0,
      timestampMs: 0,
      online: true,
      payload: new Uint8Array(),
    };
    assertEquals(await store.device("theirs"), { deviceId: "theirs", count: 4, ...unknown });
    await store.apply(batch(1, { devices: [delta("theirs", 1)] }));
    await server.call("HINCRBY", keys.counts, "theirs", 1);
    assertEquals((await store.device("theirs"))?.count, 6);
    assertEquals((await store.device("theirs"))?.firstSeenMs, now);
  });
});

Deno.test("RedisStore: large counts are exact and written in plain decimal", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const count = 2 ** 53 - 2;
    await server.call("HSET", keys.counts, "a", count);
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await store.apply(batch(2, { devices: [delta("b", count)] }));
    assertEquals(await hashAt(server, keys.counts), { a: "9007199254740991", b: "9007199254740990" });
    const { seconds } = await store.fleetHistory(now);
    assertEquals(seconds.at(-1)?.packets, count + 1);
  });
});

Deno.test("RedisStore.apply() refuses the whole batch for a foreign value, and names it", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    const both = batch(1, { devices: [delta("a", 1), delta("z", 1)] });
    await server.call("HSET", keys.records, "z", "something else");
    await assertRejects(() => store.apply(both), StoreError, "of device z");
    await server.call("HDEL", keys.records, "z");
    await server.call("SET", keys.session("s"), "open");
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
    for (const [i, [value]] of writtenCounts.entries()) {
      await server.call("HSET", keys.counts, `d${i}`, value);
    }
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
    const aside = await server.call("HGETALL", keys.setAside) as string[];
    assertEquals(aside.length / 2, writtenCounts.length - 2);
    assertEquals(aside[aside.indexOf("d3") + 1], "many");
    assertEquals(aside[aside.indexOf("d2") + 1], `${2 ** 53 - 2}`);
    assertEquals(named(`the value is kept in ${keys.setAside}`), writtenCounts.length - 2);
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
    const fleetKeys = (["second", "minute", "hour"] as const).map((period) => keys.fleet(period, later));
    const names = [keys.payloads, keys.histories, keys.version, keys.changes, keys.events, ...fleetKeys];
    for (const key of names) {
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
    [keys.version, "SET", "many"],
    [keys.events, "RPUSH", "something"],
    [keys.histories, "HSET", "a", "x"],
    [keys.fleet("second", atMs), "HSET", `${atMs / 1000}`, "many"],
  ];
}
