/**
 * Data in Redis of another layout than this program's: upgraded if it is older, refused if it is newer.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";

import { historyHead } from "../../src/store/model/periods.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { changesHead, LAYOUT_VERSION, recordLayout, versionHead } from "../../src/store/redis/layout.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, bytes, countsOf, delta, now } from "../support/batches.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { hashAt, openStore, untilStored, withStore } from "../support/redis_store.ts";

const keys = shardKeys();

const LONG = "long ".repeat(20);

/** Packs a record as layouts 2 and 3 did: without `longPayload` and, in 3, with it. */
const packRecord = (tail = "") =>
  `struct.pack('>dddddB', ${now - 9}, ${now}, 77, 5, 6, 1)${tail === "" ? "" : ` .. ${tail}`}`;

/** What every older Tally kept alike: a count, a session, a producer. */
async function writeCommon(server: RedisServer): Promise<void> {
  await server.call("HSET", keys.counts, "a", 5, "b", 7);
  await server.call("SET", keys.session("s"), "3 5");
  await server.call("SET", keys.producer("p"), 4);
}

/** Writes data as the Tally of that layout did. */
const writeLayout: Record<number, (server: RedisServer) => Promise<void>> = {
  async 1(server) {
    await writeCommon(server);
    await server.call("HSET", keys.textRecords, "a", `${now - 9} ${now} 77 hot day\n`);
    await server.call("HSET", keys.textRecords, "b", `${now - 9} ${now} -3 ${LONG}`);
  },

  async 2(server) {
    await writeCommon(server);
    const script = `for i = 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ${packRecord()}) end`;
    await server.call("EVAL", script, 1, keys.records, "a", "b");
    await server.call("HSET", keys.payloads, "a", "hot day\n", "b", LONG);
    await server.call("RPUSH", keys.changes, "\x01a", "\x01b");
    await server.call("SET", keys.version, `${now + 2} 68`);
    await writeFeed(server);
  },

  async 3(server) {
    await writeCommon(server);
    await server.call(
      "EVAL",
      `redis.call('HSET', KEYS[1], 'a', ${packRecord("'\\0hot day\\n'")}, 'b', ${packRecord("'\\1'")})
       redis.call('RPUSH', KEYS[2], struct.pack('>I2B', 1, 0) .. string.char(1) .. 'a')`,
      2,
      keys.records,
      keys.changes,
    );
    await server.call("HSET", keys.payloads, "b", LONG);
    await server.call("SET", keys.version, `${now + 2} 37`);
    await writeFeed(server);
  },
};

/** Events, how far they are delivered, and a history of one minute: kept from layout 2 on. */
async function writeFeed(server: RedisServer): Promise<void> {
  await server.call("RPUSH", keys.events, `1 offline ${now} ${now - 9} a`, `2 online ${now} ${now - 9} a`);
  await server.call("SET", keys.delivered, 1);
  const history = "redis.call('HSET', KEYS[1], 'a', struct.pack('>BHB', 1, 1, 0) .. string.char(9))";
  await server.call("EVAL", history, 1, keys.histories);
}

/** The data of {@linkcode writeLayout} is complete, and the store continues with it. */
async function assertUpgraded(server: RedisServer, store: Store, layout: number): Promise<void> {
  assertEquals(await server.call("GET", keys.layout), String(LAYOUT_VERSION));
  assertEquals(await hashAt(server, keys.counts), { a: "5", b: "7" });
  const state = {
    deviceId: "a",
    count: 5,
    firstSeenMs: now - 9,
    lastSeenMs: now,
    timestampMs: 77,
    online: true,
    payload: bytes("hot day\n"),
  };
  assertEquals(await store.device("a"), state);
  const b = await store.device("b");
  assertEquals([b?.count, b?.timestampMs, b?.payload], [7, layout === 1 ? -3 : 77, bytes(LONG)]);
  assertEquals(await server.call("HKEYS", keys.payloads), ["b"]);
  assertEquals((await store.payloads(["a"], 3)).get("a"), { bytes: bytes("hot"), totalBytes: 8 });
  const minutes = (await store.history("a", now))?.minutes.slice(-2).map(({ packets }) => packets);
  assertEquals(minutes, layout === 1 ? [0, 0] : [9, 5]);
  if (layout > 1) {
    assertEquals((await store.events(0, 9)).map(({ id, kind }) => [id, kind]), [[1, "offline"], [
      2,
      "online",
    ]]);
    assertEquals(await store.claimDelivery("me", 1000, now), 1);
    assertEquals((await store.changes(now + 1)).devices, "all");
    assertEquals((await store.claimSession("unknown", 5, now)).lost, 0, "it may have expired");
  }

  const before = await store.changes();
  const next = { sessions: [advance("s", 3, 5, 6)], devices: [delta("a", 1, 99)] };
  assertEquals(await store.apply(batch(4, next)), [], "applied before");
  assertEquals(await store.apply(batch(5, next)), []);
  assertEquals(await countsOf(store), { a: 6, b: 7 });
  // What the list of changes held is dropped: its readers scan once. Layout 1 had none.
  const { version, devices } = await store.changes(before.version);
  assertLess(before.version, version);
  assertEquals(devices === "all" || [...devices.keys()], layout > 1 || ["a"]);
  assertEquals(await store.apply(batch(6, { devices: [delta("b", 1)] })), []);
  const later = (await store.changes(version)).devices;
  assertEquals(later === "all" || [...later.keys()], ["b"]);
  const { committed, epoch } = await store.claimSession("s", 6, now);
  assertEquals([committed, epoch > 3], [6, true]);
}

for (const layout of [1, 2, 3]) {
  Deno.test(`openRedisStore() upgrades data of layout ${layout}, and loses none of it`, async () => {
    await using server = await startRedis();
    await writeLayout[layout]!(server);
    await withStore(server, (store) => assertUpgraded(server, store, layout));
  });
}

Deno.test("openRedisStore() upgrades once when several processes start at the same time", async () => {
  await using server = await startRedis();
  await writeLayout[2]!(server);
  const stores = await Promise.all(Array.from({ length: 8 }, () => openStore(server)));
  await assertUpgraded(server, stores[7]!, 2);
  for (const store of stores) await store.close();
});

/** Writes `devices` devices of layout 1: number i counts i packets, and has a payload of i % 130 bytes. */
async function writeMany(server: RedisServer, devices: number): Promise<void> {
  const script = `for i = 1, ${devices} do
    redis.call('HSET', KEYS[1], 'd' .. i, i)
    redis.call('HSET', KEYS[2], 'd' .. i, '1 2 3 ' .. string.rep('x', i % 130))
  end`;
  await server.call("EVAL", script, 2, keys.counts, keys.textRecords);
}

async function assertMany(server: RedisServer, store: Store, devices: number): Promise<void> {
  for (const i of [1, 64, 65, 129, 130, devices - 1, devices]) {
    const found = await store.device(`d${i}`);
    assertEquals([found?.count, found?.payload.length, found?.lastSeenMs], [i, i % 130, 2]);
  }
  assertEquals(await server.call("EXISTS", keys.textRecords), 0);
}

Deno.test("openRedisStore() upgrades thousands of devices in one step", async () => {
  await using server = await startRedis();
  await writeMany(server, 5000);
  await withStore(server, (store) => assertMany(server, store, 5000));
});

Deno.test("openRedisStore(): a Redis that is killed during the upgrade has one layout or the other", async () => {
  await using server = await startRedis({ appendonly: "yes", appendfsync: "always" });
  await writeMany(server, 20_000);
  for (const waitMs of [5, 40, 80, 160]) {
    const opening = openStore(server);
    await delay(waitMs); // At any moment of the script, which takes some hundred milliseconds.
    await server.kill9();
    await (await opening).close();
    await server.start();
    const [text, records] = [
      await server.call("HLEN", keys.textRecords),
      await server.call("HLEN", keys.records),
    ];
    const isUpgraded = await server.call("GET", keys.layout) === String(LAYOUT_VERSION);
    assertEquals([text, records], isUpgraded ? [0, 20_000] : [20_000, 0]);
  }
  await withStore(server, (store) => assertMany(server, store, 20_000));
});

Deno.test("openRedisStore() without memory for the upgrade leaves the older layout whole", async () => {
  await using server = await startRedis();
  await writeLayout[2]!(server);
  const dump = () => server.call("DUMP", keys.records).then(String);
  const before = await dump();
  await server.call("CONFIG", "SET", "maxmemory", 1);
  await withStore(server, async (store) => {
    await assertRejects(() => store.device("a"), StoreError, "OOM");
    await assertRejects(() => store.apply(batch(5, {})), StoreError, "OOM");
    assertEquals(await dump(), before);
    assertEquals(await server.call("EXISTS", keys.layout), 0);
    await server.call("CONFIG", "SET", "maxmemory", 0);
    await untilStored(() => store.ping());
    await assertUpgraded(server, store, 2);
  });
});

Deno.test("openRedisStore() refuses data of a newer layout, and leaves it as it is", async () => {
  await using server = await startRedis();
  await server.call("SET", keys.layout, LAYOUT_VERSION + 1);
  await server.call("HSET", keys.counts, "a", 5);
  const error = await assertRejects(() => openStore(server), StoreError);
  assertStringIncludes(
    error.message,
    `found layout ${LAYOUT_VERSION + 1}, this program supports layouts up to`,
  );
  assertEquals(await server.call("KEYS", "*").then((keys) => (keys as string[]).length), 2);
});

Deno.test("RedisStore reads and writes nothing once a newer Tally has upgraded the data", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("a", 1)] }));
    await server.call("SET", keys.layout, LAYOUT_VERSION + 1);
    const newer = `found layout ${LAYOUT_VERSION + 1}`;
    const calls: (() => Promise<unknown>)[] = [
      () => store.apply(batch(2, { devices: [delta("a", 1)] })),
      () => store.claimSession("s", 0, now),
      ...[() => store.ping(), () => countsOf(store), () => store.device("a"), () => store.remove("a")],
      ...[() => store.changes(1), () => store.events(0, 1), () => store.markOffline(["a"], now + 1, now)],
      ...[() => store.history("a", now), () => store.fleetHistory(now), () => store.instances(now)],
    ];
    for (const call of calls) await assertRejects(call, StoreError, newer);
    assertEquals(await server.call("HGETALL", keys.counts), ["a", "1"]);
    // The newer Tally was downgraded, with its data.
    await server.call("SET", keys.layout, LAYOUT_VERSION);
    assertEquals(await store.apply(batch(2, { devices: [delta("a", 1)] })), []);
    assertEquals(await countsOf(store), { a: 2 });
  });
});

Deno.test("RedisStore upgrades a backup of an older layout that is restored while it runs", async () => {
  await using server = await startRedis();
  await withStore(server, async (store) => {
    await store.apply(batch(1, { devices: [delta("z", 1)] }));
    await server.call("FLUSHALL");
    await writeLayout[3]!(server);
    assertEquals((await store.device("a"))?.count, 5);
    await assertUpgraded(server, store, 3);
    await server.call("FLUSHALL");
    assertEquals(await store.device("a"), undefined);
    assertEquals(await server.call("GET", keys.layout), String(LAYOUT_VERSION));
    assert(await server.call("EXISTS", keys.lineage) === 0);
  });
});

Deno.test("recordLayout, changesHead and versionHead have the offsets and the length of what Lua packs", async () => {
  await using server = await startRedis();
  for (const { names, offsets, bytes, luaFormat } of [recordLayout, changesHead, versionHead, historyHead]) {
    // Each field in turn is all ones, or a double that is not zero; the others are zero.
    for (const [index, name] of names.entries()) {
      const values = names.map((_, i) => i === index ? 255 : 0);
      const script = `
        local bytes, found = struct.pack('${luaFormat}', ${values}), {}
        for i = 1, #bytes do found[i] = string.byte(bytes, i) end
        return found`;
      const packed = await server.call("EVAL", script, 0) as number[];
      assertEquals(packed.length, bytes);
      const from = offsets[name as keyof typeof offsets],
        to = Object.values<number>(offsets)[index + 1] ?? bytes;
      const used = packed.flatMap((byte, at) => byte === 0 ? [] : [at]);
      assert(used.length > 0 && used.every((at) => at >= from && at < to), `${name}: ${used}`);
    }
  }
});
