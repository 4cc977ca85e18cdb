/**
 * Devices, their lists and the fleet over HTTP, on real stores.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { assert, assertEquals } from "@std/assert";

import type { RunningApi } from "../../src/api/api.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryStore } from "../support/harness.ts";
import { seededRandom } from "../support/random.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, startTestApi, TestClock } from "../support/test_api.ts";

/** The parts of a row that the tests look at. */
interface Row {
  device_id: string;
  status: string;
  count: number;
  rate_10s: number | null;
  last_seen_ms: number;
  payload: { bytes: number; text: string | null; base64: string | null; truncated: boolean };
}

interface List {
  devices: Row[];
  total: number;
  next_cursor: string | null;
}

async function get<T>(api: { url: string }, path: string, status = 200): Promise<T> {
  const response = await fetch(api.url + path);
  const body = await response.json();
  assertEquals(response.status, status, `${path}: ${JSON.stringify(body)}`);
  return body;
}

/** Every page from `cursor` on, or from the first; `between` runs after each. */
async function walk(
  api: { url: string },
  query: string,
  { between = async () => {}, from = null }: { between?: () => Promise<void>; from?: string | null } = {},
) {
  const ids: string[] = [];
  let cursor = from;
  do {
    const page: List = await get(api, `/devices?${query}${cursor === null ? "" : `&cursor=${cursor}`}`);
    ids.push(...page.devices.map(({ device_id }) => device_id));
    cursor = page.next_cursor;
    await between();
  } while (cursor !== null);
  return ids;
}

Deno.test("GET /devices: paging returns each device once while counts change, in every order", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const random = seededRandom(1);
  const ids = Array.from({ length: 500 }, (_, i) => `sensor-${i}`);
  await addPackets(store, Object.fromEntries(ids.map((id) => [id, random.int(1, 50)])));
  for (const sort of ["id", "count", "rate", "last_seen"]) {
    for (const order of ["asc", "desc"]) {
      const walked = await walk(api, `limit=37&sort=${sort}&order=${order}`, {
        between: async () => {
          const moved = Array.from({ length: 50 }, () => random.pick(ids));
          await addPackets(store, Object.fromEntries(moved.map((id) => [id, random.int(1, 100)])));
        },
      });
      assertEquals(walked.length, ids.length, `${sort} ${order}`);
      assertEquals(new Set(walked), new Set(ids), `${sort} ${order}`);
    }
  }
});

Deno.test("GET /devices: a device removed or added between pages hides no other", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const ids = Array.from({ length: 100 }, (_, i) => `sensor-${100 + i}`);
  await addPackets(store, Object.fromEntries(ids.map((id) => [id, 1])));
  let step = 0;
  const walked = await walk(api, "limit=10", {
    between: async () => {
      step++;
      await store.remove(`sensor-${100 + step}`);
      await addPackets(store, { [`another-${step}`]: 1 });
    },
  });
  const stayed = ids.filter((_, i) => i === 0 || i > step);
  assertEquals(stayed.filter((id) => !walked.includes(id)), []);
  assertEquals(new Set(walked).size, walked.length);
});

Deno.test("GET /devices: a cursor works at another api", async () => {
  await using store = await temporaryStore();
  const random = seededRandom(2);
  const counts = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`sensor-${i}`, random.int(1, 9)]));
  await addPackets(store, counts);
  await using first = await startTestApi(store);
  await using second = await startTestApi(store);
  for (
    const query of ["sort=count&order=desc", "sort=count&order=asc", "sort=id&order=desc", "sort=last_seen"]
  ) {
    const page: List = await get(first, `/devices?limit=50&${query}`);
    const rest = await walk(second, `limit=50&${query}`, { from: page.next_cursor });
    const all = [...page.devices.map(({ device_id }) => device_id), ...rest];
    assertEquals(all, await walk(first, query), query);
    assertEquals(all.length, 200, query);
  }
});

Deno.test("GET /devices filters and sorts by the parameters, ties by id", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  const random = seededRandom(3);
  const devices = new Map<string, { count: number; lastSeenMs: number }>();
  for (let i = 0; i < 300; i++) {
    const id = `${random.pick(["a", "b", "ä", "\u{1f600}"])}${i}`;
    const device = { count: random.int(1, 20), lastSeenMs: clock.unixMs - random.int(0, 120) * 1_000 };
    devices.set(id, device);
    await addPackets(store, { [id]: device.count }, { receivedAtMs: device.lastSeenMs });
  }
  await using api = await startTestApi(store, { maxAgeMs: 0, ...clock.options });
  for (const status of ["", "online", "offline"]) {
    for (const prefix of ["", "a", "ä", "a1", "\u{1f600}", "nothing"]) {
      for (const sort of ["id", "count", "last_seen"]) {
        for (const order of ["asc", "desc"]) {
          const key = (id: string) =>
            sort === "count" ? devices.get(id)!.count : sort === "id" ? 0 : devices.get(id)!.lastSeenMs;
          const isOnline = (id: string) => clock.unixMs - devices.get(id)!.lastSeenMs <= 60_000;
          const sign = order === "asc" ? 1 : -1;
          const byId = (a: string, b: string) => (a < b ? -1 : 1) * (sort === "id" ? sign : 1);
          const expected = [...devices.keys()]
            .filter((id) =>
              id.startsWith(prefix) && (status === "" || isOnline(id) === (status === "online"))
            )
            .sort((a, b) => sign * (key(a) - key(b)) || byId(a, b));
          const query = `limit=1000&sort=${sort}&order=${order}&prefix=${encodeURIComponent(prefix)}` +
            (status === "" ? "" : `&status=${status}`);
          const list: List = await get(api, `/devices?${query}`);
          assertEquals(list.devices.map(({ device_id }) => device_id), expected, query);
          assertEquals(list.total, expected.length, query);
          for (const row of list.devices) {
            assertEquals(row.status === "online", isOnline(row.device_id), query);
          }
        }
      }
    }
  }
});

Deno.test("GET /devices?search= finds any part of an id in any case, and its cursor continues the search", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { "Boiler-7": 1, "old-BOILER": 2, "ÜBER-boiler-1": 3, "pump": 4 });
  await using api = await startTestApi(store);
  const found = (query: string) => walk(api, `limit=1&${query}`);
  assertEquals(await found("search=boiler"), ["Boiler-7", "old-BOILER", "ÜBER-boiler-1"]);
  assertEquals(await found("search=BOILER-"), ["Boiler-7", "ÜBER-boiler-1"]);
  assertEquals(await found(`search=${encodeURIComponent("über")}&sort=count`), ["ÜBER-boiler-1"]);
  assertEquals(await found("search=boiler&prefix=old"), ["old-BOILER"]);
  assertEquals(await found("search=.*"), []);
});

Deno.test("GET /devices?offset= starts there, is empty after the end, and its cursor continues", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 5, b: 4, c: 3, d: 2, e: 1 });
  await using api = await startTestApi(store);
  const list = (query: string) => get<List>(api, `/devices?limit=2&${query}`);
  const ids = ({ devices }: List) => devices.map(({ device_id }) => device_id);
  const middle = await list("offset=2&sort=count&order=desc");
  assertEquals([ids(middle), middle.total], [["c", "d"], 5]);
  const query = "sort=count&order=desc";
  assertEquals(ids(await list(`${query}&cursor=${middle.next_cursor}`)), ["e"]);
  const after = await list("offset=5");
  assertEquals([ids(after), after.total, after.next_cursor], [[], 5, null]);
  assertEquals(ids(await list("offset=10000000")), []);
});

Deno.test("Invalid parameters get 400 with the parameter's name", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  for (
    const query of [
      "limit=0",
      "limit=1001",
      "limit=x",
      "sort=name",
      "order=up",
      "status=away",
      "cursor=x",
      "cursor=",
      "offset=-1",
      "offset=10000001",
    ]
  ) {
    const { error } = await get<{ error: string }>(api, `/devices?${query}`, 400);
    assert(error.includes(query.split("=")[0]!), error);
  }
  for (const query of ["after=", "after=-1", "after=1e3", "limit=0", "device=", `device=${"é".repeat(65)}`]) {
    const { error } = await get<{ error: string }>(api, `/events?${query}`, 400);
    assert(error.includes(query.split("=")[0]!), error);
  }
});

Deno.test("parameterError() names the parameter, what was found and what was expected", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const tooMany = Array.from({ length: 201 }, (_, i) => `devices=${i}`).join("&");
  const id = "expected an id of 1 to 128 bytes of UTF-8";
  const answers: Record<string, string> = {
    "/devices?limit=0": 'Cannot use the parameter limit: found "0"; expected a whole number from 1 to 1000',
    "/devices?limit=": 'Cannot use the parameter limit: found ""; expected a whole number from 1 to 1000',
    "/devices?limit=1&limit=2":
      "Cannot use the parameter limit: found 2 values; expected a whole number from 1 to 1000",
    "/devices?sort=name&order=up":
      'Cannot use the parameter sort: found "name"; expected id or count or rate or last_seen or value:name; ' +
      'Cannot use the parameter order: found "up"; expected asc or desc',
    "/devices?colour=red": 'Cannot use the parameter "colour": found no such parameter here; ' +
      "expected one of status, prefix, search, tag, sort, columns, order, limit, cursor, offset",
    "/fleet?a=1&b=2": 'Cannot use the parameter "a", "b": found no such parameter here; expected none',
    "/devices/sensor-1?x": 'Cannot use the parameter "x": found no such parameter here; expected none',
    "/devices/sensor-1/history?x":
      'Cannot use the parameter "x": found no such parameter here; expected none',
    "/devices/by-id": `Cannot use the parameter id: found nothing; ${id}`,
    "/devices/by-id/history?id=a&x":
      'Cannot use the parameter "x": found no such parameter here; expected id',
    [`/devices/${"a".repeat(129)}`]: `Cannot use the parameter id: found "${
      "a".repeat(79)
    }… of 131 characters; ${id}`,
    "/metrics?x=1": 'Cannot use the parameter "x": found no such parameter here; expected none',
    "/live?ids=a": 'Cannot use the parameter "ids": found no such parameter here; expected devices',
    [`/live?${tooMany}`]: `Cannot use the parameter devices: found 201 values; ${id}, 200 of them at most`,
    "/histories?devices=": `Cannot use the parameter devices: found ""; ${id}, 200 of them at most`,
    "/events?since=1": 'Cannot use the parameter "since": found no such parameter here; ' +
      "expected one of after, before, device, tag, limit",
  };
  for (const [path, expected] of Object.entries(answers)) {
    assertEquals((await get<{ error: string }>(api, path, 400)).error, expected, path);
  }
  const removal = await fetch(`${api.url}/devices/sensor-1?force=1`, { method: "DELETE" });
  await removal.body?.cancel();
  assertEquals(removal.status, 400);
});

const hostileIds = [
  ".",
  "..",
  "by-id",
  "/",
  "a/../b",
  "a/history",
  "%2e",
  "%",
  "?",
  "#",
  "a b",
  "<script>alert(1)</script>",
  "\u202egnirts\u202c",
  "温度计-🌡️",
  "__proto__",
  "a".repeat(128),
];

Deno.test("GET and DELETE /devices/{id} and /history work for each hostile id", async () => {
  await using redis = await startRedis();
  await using sqlite = await temporaryStore();
  const onRedis = await openStore(redis);
  try {
    for (const store of [onRedis, sqlite]) {
      await using api = await startTestApi(store);
      await addPackets(store, Object.fromEntries(hostileIds.map((id, i) => [id, i + 1])));
      for (const [i, id] of hostileIds.entries()) {
        const inPath = !["by-id", ".", ".."].includes(id);
        const paths = [`/devices/by-id?id=${encodeURIComponent(id)}`];
        if (inPath) paths.push(`/devices/${encodeURIComponent(id)}`);
        for (const path of paths) {
          const row = await get<Row>(api, path);
          assertEquals([row.device_id, row.count], [id, i + 1], path);
          const { minutes, hours } = await get<{ minutes: unknown[]; hours: unknown[] }>(
            api,
            path.includes("?") ? path.replace("?", "/history?") : `${path}/history`,
          );
          assertEquals([minutes.length, hours.length], [60, 24], path);
        }
        const path = paths.at(-1)!;
        assertEquals((await fetch(api.url + path, { method: "DELETE" })).status, 204, path);
        await get(api, path, 404);
        const again = await fetch(api.url + path, { method: "DELETE" });
        await again.body?.cancel();
        assertEquals(again.status, 404, path);
      }
      assertEquals((await get<List>(api, "/devices")).total, 0);
    }
  } finally {
    await onRedis.close();
  }
});

Deno.test("DELETE /devices/{id} refuses requests of other origins", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const remove = async (headers: Record<string, string>) => {
    await addPackets(store, { "sensor-1": 1 });
    const response = await fetch(`${api.url}/devices/sensor-1`, { method: "DELETE", headers });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await remove({}), 204);
  assertEquals(await remove({ "sec-fetch-site": "same-origin", origin: api.url }), 204);
  assertEquals(await remove({ "sec-fetch-site": "none" }), 204);
  assertEquals(await remove({ origin: api.url }), 204);
  for (const site of ["cross-site", "same-site", "nonsense"]) {
    assertEquals(await remove({ "sec-fetch-site": site, origin: api.url }), 403, site);
  }
  for (const origin of ["http://elsewhere.test", "null", `${api.url}0`]) {
    assertEquals(await remove({ origin }), 403, origin);
  }
});

Deno.test("GET /devices: payloads are text when UTF-8; truncated in lists, whole for one device", async () => {
  await using store = await temporaryStore();
  const payloads: Record<string, Uint8Array<ArrayBuffer>> = {
    empty: new Uint8Array(),
    text: new TextEncoder().encode("<b>21 °C</b>"),
    binary: Uint8Array.from([0xff, 0, 1]),
    long: new TextEncoder().encode("x" + "é".repeat(300)),
    longBinary: new Uint8Array(500).fill(0xff),
  };
  for (const [id, payload] of Object.entries(payloads)) await addPackets(store, { [id]: 1 }, { payload });
  await using api = await startTestApi(store);
  const { devices } = await get<List>(api, "/devices");
  const shown = Object.fromEntries(devices.map(({ device_id, payload }) => [device_id, payload]));
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  assertEquals(shown, {
    binary: { bytes: 3, text: null, base64: "/wAB", truncated: false },
    empty: { bytes: 0, text: "", base64: null, truncated: false },
    // The 200th byte is half an é.
    long: { bytes: 601, text: "x" + "é".repeat(99), base64: null, truncated: true },
    longBinary: {
      bytes: 500,
      text: null,
      base64: base64(payloads["longBinary"]!.slice(0, 200)),
      truncated: true,
    },
    text: { bytes: 13, text: "<b>21 °C</b>", base64: null, truncated: false },
  });
  assertEquals((await get<Row>(api, "/devices/long")).payload, {
    bytes: 601,
    text: "x" + "é".repeat(300),
    base64: null,
    truncated: false,
  });
});

Deno.test("GET /devices shows devices that other processes stored, removed, and wrote into Redis", async () => {
  await using redis = await startRedis();
  const clock = new TestClock();
  const stores: Store[] = [await openStore(redis), await openStore(redis)];
  try {
    const [store, other] = stores as [Store, Store];
    await using api = await startTestApi(store, { ...clock.options, maxAgeMs: 0 });
    const counts = async (from: RunningApi & { url: string }) => {
      const { devices } = await get<List>(from, "/devices");
      return Object.fromEntries(devices.map(({ device_id, count }) => [device_id, count]));
    };
    await addPackets(other, { a: 1, b: 2 });
    clock.pass(1); // At start the api reads by itself: by its clock, that may be now.
    assertEquals(await counts(api), { a: 1, b: 2 });
    // The first time an empty store may have been read; from then on only what changes is.
    for (let count = 2; count < 5; count++) {
      await addPackets(other, { a: 1, c: 1 });
      clock.pass(1_000);
      assertEquals((await counts(api))["c"], 1);
      await other.remove("b");
      await other.remove("c");
      clock.pass(1_000);
      assertEquals(await counts(api), { a: count });
    }

    await redis.call("HINCRBY", "device_metrics", "foreign", "7");
    clock.pass(61_000);
    await counts(api); // Begins the reading that finds it.
    clock.pass(1_000);
    let found = await counts(api);
    for (let tries = 0; found["foreign"] === undefined && tries < 100; tries++) {
      clock.pass(1_000);
      found = await counts(api);
    }
    assertEquals(found, { a: 4, foreign: 7 });
  } finally {
    for (const store of stores) await store.close();
  }
});

Deno.test("GET /fleet: a fleet younger than a minute has the rates of its only device", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  await using api = await startTestApi(store, { maxAgeMs: 0, ...clock.options });
  await get(api, "/fleet");
  clock.pass(61_000);
  // In the middle of a second.
  for (let ageMs = 0; ageMs <= 75_000; ageMs += 100) {
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    if (ageMs >= 2_000 && ageMs % 200 === 0) {
      const fleet = await get<{ rate_10s: number; rate_1m: number }>(api, "/fleet");
      const device = await get<{ rate_10s: number; rate_1m: number }>(api, "/devices/a");
      for (const { rate_10s, rate_1m } of [fleet, device]) {
        assert(Math.abs(rate_10s - 10) <= 1, `${rate_10s} packets/s over ten seconds at ${ageMs} ms`);
        assert(Math.abs(rate_1m - 10) <= 1, `${rate_1m} packets/s over a minute at ${ageMs} ms`);
      }
    }
    clock.pass(100);
  }
});

Deno.test("GET /fleet and /devices/{id}/history state until_ms, so that the current period has a rate", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  await addPackets(store, { a: 21 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...clock.options });
  type Periods = { start_ms: number; packets: number }[];
  const fleet = await get<{ history: { until_ms: number; minutes: Periods; hours: Periods } }>(api, "/fleet");
  const device = await get<{ until_ms: number; minutes: Periods; hours: Periods }>(api, "/devices/a/history");
  for (const history of [fleet.history, device]) {
    const running = history.minutes.at(-1)!;
    assertEquals([running.packets, (history.until_ms - running.start_ms) / 1_000], [21, 30.5]);
    const hour = history.hours.at(-1)!;
    assert(hour.start_ms <= history.until_ms && history.until_ms < hour.start_ms + 3_600_000);
  }
  // Another machine's clock is ahead.
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs + 60_000 });
  const ahead = await get<{ until_ms: number; minutes: Periods }>(api, "/devices/a/history");
  assertEquals(ahead.until_ms, ahead.minutes.at(-1)!.start_ms);
});

Deno.test("GET /histories returns the counts of the named devices", async () => {
  await using redis = await startRedis();
  await using sqlite = await temporaryStore();
  const onRedis = await openStore(redis);
  try {
    for (const store of [onRedis, sqlite]) {
      const clock = new TestClock();
      await using api = await startTestApi(store, { ...clock.options });
      const ids = Array.from({ length: 200 }, (_, i) => `é${i}`.padEnd(20, "é"));
      for (const ago of [120_000, 60_000, 0]) {
        const packets = Object.fromEntries(ids.map((id, i) => [id, i + ago / 60_000 + 1]));
        await addPackets(store, packets, { receivedAtMs: clock.unixMs - ago });
      }
      const query = (ids: readonly string[]) =>
        ids.map((id) => `devices=${encodeURIComponent(id)}`).join("&");
      interface Row {
        device_id: string;
        until_ms: number;
        minutes: number[];
        hours: number[];
      }
      const { histories } = await get<{ histories: Row[] }>(api, `/histories?${query(ids.toReversed())}`);
      assertEquals(histories.map(({ device_id }) => device_id), ids.toReversed());
      for (const { device_id, until_ms, minutes, hours } of histories.slice(0, 5)) {
        const i = ids.indexOf(device_id);
        assertEquals([until_ms, minutes.length, hours.length], [clock.unixMs, 60, 24]);
        assertEquals(minutes.slice(-4), [0, i + 3, i + 2, i + 1]);
        const path = `/devices/${encodeURIComponent(device_id)}/history`;
        const alone = await get<{ minutes: { packets: number }[]; hours: { packets: number }[] }>(api, path);
        assertEquals([minutes, hours], [
          alone.minutes.map(({ packets }) => packets),
          alone.hours.map(({ packets }) => packets),
        ]);
      }
      const some = await get<{ histories: Row[] }>(api, `/histories?${query([".", ids[0]!, "x", ids[0]!])}`);
      assertEquals(some.histories.map(({ device_id }) => device_id), [ids[0]]);
      await get(api, `/histories?${query([...ids, "one-more"])}`, 400);
      await get(api, "/histories", 400);
    }
  } finally {
    await onRedis.close();
  }
});

Deno.test("GET /devices: interval_ms of a device that sends every five minutes is five minutes", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  await using api = await startTestApi(store, { maxAgeMs: 0, ...clock.options });
  const interval = async () => (await get<{ interval_ms: number | null }>(api, "/devices/a")).interval_ms;
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  assertEquals(await interval(), null);
  for (let i = 0; i < 3; i++) {
    clock.pass(300_000);
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    assertEquals(await interval(), 300_000);
  }
  // An api that has just started has it from the store.
  await using other = await startTestApi(store, { ...clock.options });
  const { devices } = await get<{ devices: { interval_ms: number }[] }>(other, "/devices");
  assertEquals(devices[0]!.interval_ms, 300_000);
});

Deno.test("GET /fleet: its figures are the sums over all devices", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  await addPackets(store, { old: 5 }, { receivedAtMs: clock.unixMs - 61_000 });
  await addPackets(store, { young: 60 }, { receivedAtMs: clock.unixMs - 2_000 });
  await using api = await startTestApi(store, { ...clock.options });
  const fleet = await get<
    Record<string, unknown> & { history: { until_ms: number } & Record<string, { packets: number }[]> }
  >(
    api,
    "/fleet",
  );
  const { history: { until_ms: untilMs, ...history }, store: storeFigures, api: _own, ...figures } = fleet;
  assertEquals(untilMs, clock.unixMs);
  assertEquals(figures, {
    now_ms: clock.unixMs,
    devices: 2,
    online: 1,
    offline: 1,
    count: 65,
    rate_10s: 6,
    rate_1m: 1,
    offline_after_ms: 60_000,
    last_event_id: 0,
    webhook: null,
    instances: [],
    tags: 0,
  });
  assertEquals(storeFigures, {
    description: store.description,
    ok: true,
    eviction_policy: null,
    clock_ahead_ms: 0,
    counts_late_ms: 0,
    shards: [],
  });
  const sums = Object.entries(history).map(([name, periods]) => [
    name,
    periods.length,
    periods.reduce((sum, { packets }) => sum + packets, 0),
  ]);
  assertEquals(sums, [["seconds", 900, 65], ["minutes", 60, 65], ["hours", 24, 65]]);
});
