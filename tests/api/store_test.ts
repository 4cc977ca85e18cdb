/**
 * The api on real stores: what is stored is what readers see, and a store that goes away shows.
 *
 * @module
 */
import { configure, getLogger, reset } from "@logtape/logtape";
import { assertEquals, assertStringIncludes } from "@std/assert";

import type { RunningApi } from "../../src/api/api.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../src/store/store.ts";
import { startRedis } from "../support/redis_server.ts";
import { untilStored } from "../support/redis_store.ts";
import { startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const log = getLogger(["tally", "test"]);
const ackAfter = { kind: "stored" } as const;

/** Every store there is, each with an api of its own. */
async function onEachStore(
  body: (api: RunningApi, store: Store, kind: string) => Promise<void>,
): Promise<void> {
  await using redis = await startRedis();
  const folder = await Deno.makeTempDir();
  const stores = {
    Redis: await openRedisStore({ url: redis.url, ackAfter, commandTimeoutMs: 2_000, log }),
    SQLite: await openSqliteStore({ path: `${folder}/tally.db`, ackAfter }),
  };
  try {
    for (const [kind, store] of Object.entries(stores)) {
      await using api = await startTestApi(store);
      await body(api, store, kind);
    }
  } finally {
    for (const store of Object.values(stores)) await store.close();
    await Deno.remove(folder, { recursive: true });
  }
}

let sequence = 0;

async function add(store: Store, packets: Readonly<Record<string, number>>): Promise<void> {
  const devices = Object.entries(packets).map(([deviceId, packets]) => ({
    deviceId,
    packets,
    timestampMs: 1_700_000_000_000,
    payload: new Uint8Array([1, 2, 3]),
  }));
  const batch = {
    producer: "p",
    sequence: ++sequence,
    previous: sequence - 1,
    receivedAtMs: 1_700_000_000_000,
    devices,
    sessions: [],
  };
  assertEquals(await store.apply(batch), []);
}

async function metrics(api: RunningApi): Promise<Record<string, number>> {
  const response = await fetch(`http://${api.host}:${api.port}/metrics`);
  const list: { device_id: string; count: number }[] = await response.json();
  const counts = Object.fromEntries(list.map(({ device_id, count }) => [device_id, count]));
  assertEquals(Object.keys(counts).length, list.length, "a device is listed twice");
  return counts;
}

async function statusOf(api: RunningApi, path: string): Promise<number> {
  const response = await fetch(`http://${api.host}:${api.port}${path}`);
  await response.body?.cancel();
  return response.status;
}

Deno.test("GET /metrics shows the stored counts, hostile device ids included", async () => {
  await onEachStore(async (api, store, kind) => {
    assertEquals(await metrics(api), {}, kind);
    const stored = { "sensor-1": 10, '"}\\': 2, "<script>": 3, "温度计-🌡️": 4, "\u202etxet": 5, "4": 6 };
    await add(store, stored);
    await until(async () => Object.keys(await metrics(api)).length > 0, "the batch shows");
    assertEquals(await metrics(api), stored, kind);

    const response = await fetch(`http://${api.host}:${api.port}/metrics`, {
      headers: { accept: "text/plain" },
    });
    const text = await response.text();
    assertStringIncludes(text, 'tally_device_packets_total{device_id="sensor-1"} 10\n', kind);
    assertStringIncludes(text, 'tally_device_packets_total{device_id="\\"}\\\\"} 2\n', kind);

    await add(store, { "sensor-1": 1 });
    await until(async () => (await metrics(api))["sensor-1"] === 11, "the next batch shows");
  });
});

Deno.test("GET /metrics lists each of 100,000 stored devices once", async () => {
  await onEachStore(async (api, store, kind) => {
    const stored: Record<string, number> = {};
    for (let batch = 0; batch < 10; batch++) {
      const part = Object.fromEntries(
        Array.from({ length: 10_000 }, (_, i) => [`sensor-${batch * 10_000 + i}`, batch * 10_000 + i + 1]),
      );
      await add(store, part);
      Object.assign(stored, part);
    }
    assertEquals(await metrics(api), stored, kind);
  });
});

Deno.test("GET /metrics follows a store that was restored from a backup, also one restored unnoticed", async () => {
  await using redis = await startRedis();
  const store = await openRedisStore({ url: redis.url, ackAfter, commandTimeoutMs: 2_000, log });
  let gate = Promise.resolve();
  // Only so can the store be put back and go on between two looks of the api.
  const unseen = new Proxy(store, {
    get(target, name) {
      const method = Reflect.get(target, name);
      if (typeof method !== "function") return method;
      return name === "changes"
        ? (since?: number) => gate.then(() => target.changes(since))
        : method.bind(target);
    },
  });
  const api = await startTestApi(unseen);
  try {
    await add(store, { kept: 5 });
    const putBack = await redis.snapshot();
    for (const deviceId of ["gone-1", "gone-2", "kept"]) await add(store, { [deviceId]: 1 });
    await until(async () => (await metrics(api))["kept"] === 6, "all is read");
    const opened = Promise.withResolvers<void>();
    gate = opened.promise;
    await putBack();
    await untilStored(() => store.ping());
    for (let i = 0; i < 10; i++) await add(store, { new: 1 });
    opened.resolve();
    const expected = { kept: 5, new: 10 };
    await until(
      async () => JSON.stringify(await metrics(api)) === JSON.stringify(expected),
      "the api has what the store has",
    );
  } finally {
    await api.close(1_000);
    await store.close();
  }
});

Deno.test("GET /metrics stays valid when another program writes invalid counts", async () => {
  await using redis = await startRedis();
  const store = await openRedisStore({ url: redis.url, ackAfter, commandTimeoutMs: 2_000, log });
  await add(store, { good: 3, bad: 4 });
  await redis.call("HSET", "device_metrics", "bad", "1.5", "worse", "many", "theirs", "7");
  const api = await startTestApi(store);
  try {
    assertEquals(await metrics(api), { good: 3, theirs: 7 });
    const text = await (await fetch(`${api.url}/metrics`, { headers: { accept: "text/plain" } })).text();
    assertEquals([text.includes("NaN"), text.includes("bad")], [false, false]);
    assertEquals(await statusOf(api, "/devices/bad"), 404);
    await add(store, { bad: 2, good: 1, worse: 1 });
    await until(async () => (await metrics(api))["bad"] === 2, "it counts again");
    assertEquals(await metrics(api), { good: 4, theirs: 7, bad: 2, worse: 1 });
  } finally {
    await api.close(1_000);
    await store.close();
  }
});

Deno.test("Redis killed, paused and back: GET /metrics is 503 and then 200, and the log reports each once", async () => {
  await using redis = await startRedis({ appendonly: "yes", appendfsync: "always" });
  const store = await openRedisStore({ url: redis.url, ackAfter, commandTimeoutMs: 500, log });
  const messages: string[] = [];
  await configure({
    sinks: { list: (record) => messages.push(String(record.rawMessage)) },
    loggers: [
      { category: ["tally", "test", "api"], sinks: ["list"] },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
  const api = await startTestApi(store, { log: log.getChild("api") });
  try {
    await add(store, { "sensor-1": 10 });
    // A read of up to 250 ms ago may be served, one from before the packets.
    await until(async () => (await metrics(api))["sensor-1"] === 10, "/metrics has the packets");

    await redis.kill9();
    // Until the present snapshot is too old it is still right to serve it.
    await until(async () => await statusOf(api, "/metrics") === 503, "/metrics is 503");
    assertEquals(await statusOf(api, "/readyz"), 503);
    assertEquals(await statusOf(api, "/healthz"), 200);
    await redis.start();
    await until(async () => await statusOf(api, "/metrics") === 200, "/metrics is 200");
    await until(async () => await statusOf(api, "/readyz") === 200, "/readyz is 200");
    assertEquals(await metrics(api), { "sensor-1": 10 });
    assertEquals(messages, [
      "The store cannot be read; readers get errors until it can",
      "The store can be read again",
    ]);

    redis.pause();
    await until(async () => await statusOf(api, "/metrics") === 503, "/metrics is 503");
    redis.resume();
    await until(async () => await statusOf(api, "/metrics") === 200, "/metrics is 200");
    assertEquals(messages.length, 4);
  } finally {
    await api.close(1_000);
    await store.close();
    await reset();
  }
});
