/**
 * Events as readers get them: of all devices or of one, listed or as a stream.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { EventLog } from "../../src/alerts/event_log.ts";
import { type DeviceEvent, EVENTS_KEPT } from "../../src/store/events.ts";
import type { Store } from "../../src/store/store.ts";
import { openEvents } from "../support/event_reader.ts";
import { temporaryStore } from "../support/harness.ts";
import { forSeeds } from "../support/random.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, startTestApi, TestClock } from "../support/test_api.ts";

/** Each device goes offline, then comes back. */
async function silence(store: Store, clock: TestClock, deviceIds: readonly string[]): Promise<void> {
  clock.pass(60_001);
  await store.markOffline(deviceIds, clock.unixMs - 60_000, clock.unixMs);
  clock.pass(1_000);
  const packets = Object.fromEntries(deviceIds.map((deviceId) => [deviceId, 1]));
  await addPackets(store, packets, { receivedAtMs: clock.unixMs });
}

async function listed(url: string): Promise<{ ids: number[]; own: string[]; next: number }> {
  const { events, next } = await (await fetch(url)).json();
  return {
    ids: events.map(({ id }: { id: number }) => id),
    own: events.map(({ device_id, kind }: Record<string, string>) => `${device_id} ${kind}`),
    next,
  };
}

Deno.test("GET /events?device= lists, pages and streams the events of one device only", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  const ids = ["a", "<b>", "a b"];
  await addPackets(store, { a: 1, "<b>": 1, "a b": 1 }, { receivedAtMs: clock.unixMs });
  for (let i = 0; i < 3; i++) await silence(store, clock, ids);
  await using api = await startTestApi(store, { ...clock.options, watchIntervalMs: 10 });
  const url = `${api.url}/events?device=a`;

  const all = await listed(`${api.url}/events`);
  assertEquals(all.ids.length, 18);
  const own = await listed(url);
  const [off, on] = ["a offline", "a online"];
  assertEquals(own.own, [off, on, off, on, off, on]);
  assertEquals(own.next, own.ids.at(-1));
  assertEquals((await listed(`${url}&limit=2`)).ids, own.ids.slice(-2));
  assertEquals((await listed(`${url}&limit=2&after=${own.ids[1]}`)).ids, own.ids.slice(2, 4));
  assertEquals((await listed(`${url}&limit=2&before=${own.ids[4]}`)).ids, own.ids.slice(2, 4));
  assertEquals((await listed(`${url}&limit=1&after=${own.ids[0]}&before=${own.ids[4]}`)).ids, [own.ids[1]]);
  assertEquals((await listed(`${api.url}/events?limit=5&before=${all.ids[10]}`)).ids, all.ids.slice(5, 10));
  assertEquals((await listed(`${api.url}/events?before=${all.ids[0]}`)).ids, []);
  assertEquals(await listed(`${url}&after=${own.next}`), { ids: [], own: [], next: own.next });
  assertEquals((await listed(`${api.url}/events?device=unknown`)).ids, []);
  assertEquals((await listed(`${api.url}/events?device=${encodeURIComponent("<b>")}`)).ids.length, 6);
  const refused = await fetch(`${api.url}/events?device=${"x".repeat(129)}`);
  assertEquals(refused.status, 400);
  await refused.body?.cancel();

  await using stream = await openEvents(`${url}&after=${own.ids[3]}`);
  for (const id of own.ids.slice(4)) assertEquals((await stream.next())?.id, String(id));
  await silence(store, clock, ["<b>"]);
  await silence(store, clock, ["a"]);
  for (const kind of ["offline", "online"]) {
    const event = await stream.next();
    assertEquals([event?.name, event?.data.device_id], [kind, "a"]);
  }
  const { last_event_id } = await (await fetch(`${api.url}/fleet`)).json();
  assertEquals(last_event_id, (await listed(`${api.url}/events`)).next);
});

Deno.test("GET /events after the store was emptied: old events are gone, new ones are sent", async () => {
  await using redis = await startRedis();
  const store = await openStore(redis);
  try {
    const clock = new TestClock();
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    await silence(store, clock, ["a"]);
    await using api = await startTestApi(store, { ...clock.options, watchIntervalMs: 10 });
    await using stream = await openEvents(`${api.url}/events?after=0`);
    for (const kind of ["offline", "online"]) assertEquals((await stream.next())?.name, kind);
    await redis.call("FLUSHALL");
    assertEquals((await listed(`${api.url}/events`)).ids, []);
    await addPackets(store, { b: 1 }, { receivedAtMs: clock.unixMs });
    await silence(store, clock, ["b"]);
    assertEquals((await listed(`${api.url}/events`)).own, ["b offline", "b online"]);
    for (const kind of ["offline", "online"]) assertEquals((await stream.next())?.data.kind, kind);
  } finally {
    await store.close();
  }
});

Deno.test("EventLog equals the store's events, also after the store was emptied, restored, or far ahead", async () => {
  await forSeeds(40, async (random) => {
    let stored: DeviceEvent[] = [];
    let made = 0;
    let read = 0;
    const log = new EventLog({
      events(after = 0, limit) {
        const page = stored.filter(({ id }) => id > after).slice(0, limit);
        read += page.length;
        return Promise.resolve(page);
      },
    });
    for (let step = 0; step < 8; step++) {
      if (random.chance(0.15)) stored = [];
      if (random.chance(0.15)) stored = stored.slice(0, random.int(0, stored.length));
      const burst = random.pick([0, 1, 3, 998, 999, 1_000, 1_001, 2_500, random.chance(0.2) ? 12_000 : 0]);
      for (let i = 0; i < burst; i++) {
        const deviceId = String(random.int(0, 3));
        stored.push({
          id: (stored.at(-1)?.id ?? 0) + 1,
          kind: "online",
          deviceId,
          atMs: ++made,
          lastSeenMs: 0,
        });
      }
      stored = stored.slice(-EVENTS_KEPT);
      await Promise.all([log.refresh(), log.refresh()]);
      assertEquals(log.list(0, EVENTS_KEPT), stored);
      assertEquals(log.newestId, stored.at(-1)?.id ?? 0);
      const after = random.int(0, log.newestId);
      const limit = random.int(1, 50);
      const own = stored.filter(({ deviceId }) => deviceId === "1");
      assertEquals(log.list(after, limit, "1"), own.filter(({ id }) => id > after).slice(0, limit));
      assertEquals(log.list(undefined, limit, "1"), own.slice(-limit));
    }
    const before = read;
    for (let i = 0; i < 10; i++) await log.refresh();
    assert(read - before <= 10, "events are read again although nothing is new");
  });
});

Deno.test("EventLog: a request during a read gets the events stored before it", async () => {
  const stored: DeviceEvent[] = [];
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let calls = 0;
  const log = new EventLog({
    async events(after = 0) {
      const page = stored.filter(({ id }) => id > after);
      await gates[calls++]?.promise;
      return page;
    },
  });
  const first = log.refresh();
  stored.push({ id: 1, kind: "offline", deviceId: "a", atMs: 1, lastSeenMs: 0 });
  const second = log.refresh();
  const third = log.refresh();
  gates[0]!.resolve();
  await first;
  assertEquals(log.newestId, 0);
  gates[1]!.resolve();
  await Promise.all([second, third]);
  assertEquals([log.newestId, calls], [1, 2]);
});

Deno.test("GET /events?tag= lists and streams the events of devices with the tags, and shows name and tags", async () => {
  await using store = await temporaryStore();
  const clock = new TestClock();
  await addPackets(store, { a: 1, b: 1, c: 1 }, { receivedAtMs: clock.unixMs });
  await store.setLabels([
    { deviceId: "a", name: "Pump", tags: new Map([["site", "oslo"], ["model", "x1"]]) },
    { deviceId: "b", tags: new Map([["site", "oslo"]]) },
  ]);
  await silence(store, clock, ["a", "b", "c"]);
  await using api = await startTestApi(store, { ...clock.options, watchIntervalMs: 10 });
  const { events } = await (await fetch(`${api.url}/events?device=a`)).json();
  assertEquals([events[0].name, events[0].tags], ["Pump", { model: "x1", site: "oslo" }]);
  const own = async (query: string) => (await listed(`${api.url}/events?${query}`)).own;
  assertEquals(await own("tag=site=oslo"), ["a offline", "b offline", "a online", "b online"]);
  assertEquals(await own("tag=site=oslo&limit=1"), ["b online"]);
  assertEquals(await own("tag=site=oslo&tag=model=x1"), ["a offline", "a online"]);
  assertEquals(await own("tag=site=rome"), []);
  assertEquals((await own("tag=model&device=b")).length, 0);
  const last = (await listed(`${api.url}/events`)).next;
  await using stream = await openEvents(`${api.url}/events?tag=site=oslo&after=${last}`);
  await silence(store, clock, ["c", "b"]);
  const event = await stream.next();
  assertEquals([event?.name, event?.data.device_id, event?.data.tags], ["offline", "b", { site: "oslo" }]);
});
