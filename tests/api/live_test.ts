/**
 * Streams of Server-Sent Events: the fleet as it changes, and devices that went offline.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

import { anonymous } from "../../src/api/http/access.ts";
import { SseBroadcaster } from "../../src/api/http/sse_broadcaster.ts";
import type { Store } from "../../src/store/store.ts";
import { openEvents } from "../support/event_reader.ts";
import { temporaryStore } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, RunningClock, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

Deno.test("GET /live sends the fleet and the named devices, then their changes", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 2, c: 3 });
  await using api = await startTestApi(store);
  await using events = await openEvents(`${api.url}/live?devices=a&devices=b&devices=unknown`);

  const fleet = await events.nextOf("fleet");
  assertEquals([fleet.data.devices, fleet.data.online, fleet.data.count], [3, 3, 6]);
  assert(Number(fleet.id) > 0);
  const first = await events.nextOf("devices");
  const seen = first.data.devices.map(({ device_id, count }: Record<string, unknown>) => [device_id, count]);
  assertEquals(seen, [["a", 1], ["b", 2]]);
  assertEquals(first.data.devices[0].payload.text, "payload");

  await addPackets(store, { a: 4, c: 1 }, { payload: new TextEncoder().encode("new") });
  let changed = await events.nextOf("devices");
  while (changed.data.devices[0].count !== 5) changed = await events.nextOf("devices");
  assertEquals(changed.data.devices[0].payload.text, "new");
  assert(changed.data.devices.every(({ device_id }: { device_id: string }) => device_id !== "c"));

  await store.remove("b");
  let removed = await events.nextOf("devices");
  while (removed.data.removed.length === 0) removed = await events.nextOf("devices");
  assertEquals(removed.data.removed, ["b"]);
});

Deno.test("GET /live sends a client that reconnects all that it may have missed", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1 });
  await using api = await startTestApi(store);
  let lastId: string;
  {
    await using events = await openEvents(`${api.url}/live?devices=a&devices=b`);
    lastId = (await events.nextOf("devices")).id;
  }
  await addPackets(store, { b: 7 });
  await using again = await openEvents(`${api.url}/live?devices=a&devices=b`, { "last-event-id": lastId });
  let rows = (await again.nextOf("devices")).data.devices;
  while (!rows.some(({ device_id }: { device_id: string }) => device_id === "b")) {
    rows = (await again.nextOf("devices")).data.devices;
  }
});

Deno.test("GET /live sends an event when the store is down and when it is back", async () => {
  await using redis = await startRedis({ appendonly: "yes", appendfsync: "always" });
  const store = await openStore(redis, { commandTimeoutMs: 500 });
  try {
    await addPackets(store, { a: 1 });
    await using api = await startTestApi(store, { heartbeatMs: 50 });
    await using events = await openEvents(`${api.url}/live?devices=a`);
    await events.nextOf("devices");
    await redis.kill9();
    assertEquals((await events.nextOf("store")).data, {
      ok: false,
      message: "the store is unreachable: try again",
    });
    // Another client gets the event at once; comments keep both streams open.
    await using late = await openEvents(`${api.url}/live`);
    assertEquals((await late.nextOf("store")).data.ok, false);
    await events.nextOf("comment");
    await redis.start();
    assertEquals((await events.nextOf("store")).data, { ok: true, message: null });
    assertEquals((await late.nextOf("fleet")).data.count, 1);
  } finally {
    await store.close();
  }
});

Deno.test("GET /live sends comments while there are no events", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { heartbeatMs: 10 });
  await using events = await openEvents(`${api.url}/events`);
  for (let i = 0; i < 3; i++) assertEquals((await events.next())?.name, "comment");
});

Deno.test("GET /live: at most TALLY_LIVE_MAX_CLIENTS streams are open; one that ends makes room", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { liveMaxClients: 2 });
  await using _live = await openEvents(`${api.url}/live`);
  {
    await using _events = await openEvents(`${api.url}/events`);
    const refusal = await assertRejects(() => openEvents(`${api.url}/live`), Error);
    assertStringIncludes(refusal.message, "answered 503");
    // Listing is no stream.
    assertEquals((await (await fetch(`${api.url}/events`)).json()).events, []);
  }
  await until(
    () =>
      openEvents(`${api.url}/live`).then((stream) => stream[Symbol.asyncDispose]()).then(
        () => true,
        () => false,
      ),
    "there is room",
  );
});

Deno.test("HEAD /live does not count as an open stream", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { liveMaxClients: 1 });
  for (const path of ["/live", "/events"]) {
    const head = await fetch(api.url + path, { method: "HEAD", headers: { accept: "text/event-stream" } });
    assertEquals(head.headers.get("content-type"), "text/event-stream");
  }
  await using _live = await openEvents(`${api.url}/live`);
});

Deno.test("GET /live: a client that does not read is disconnected, and costs one event of memory", async () => {
  const streams = new SseBroadcaster({ maxClients: 10, slowClientMs: 100 });
  let made = 0;
  const event = `data: ${"x".repeat(1_000_000)}\n\n`;
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () =>
      new Response(streams.open(() => {
        made++;
        return Promise.resolve(event);
      }, anonymous)),
  );
  try {
    using slow = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
    await slow.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    await until(() => made > 0 && streams.size === 0, "the client is dropped");
    // The system's buffers took some.
    assert(made < 100, `${made} events were made`);
  } finally {
    streams.close();
    await server.shutdown();
  }
});

Deno.test("RunningApi.close() ends event streams before it waits for readers", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  await using live = await openEvents(`${api.url}/live`);
  await using events = await openEvents(`${api.url}/events`);
  await live.nextOf("fleet");
  await api.close(60_000);
  assertEquals(await events.next(), undefined);
  let last = await live.next();
  while (last !== undefined) last = await live.next();
});

/** Runs `body` on each kind of store, opened twice, as two processes would. */
async function onEachStoreTwice(body: (one: Store, other: Store) => Promise<void>): Promise<void> {
  await using redis = await startRedis();
  await using sqlite = await temporaryStore();
  const stores = [await openStore(redis), await openStore(redis)] as const;
  try {
    await body(...stores);
  } finally {
    for (const store of stores) await store.close();
  }
  await body(sqlite, sqlite);
}

Deno.test("GET /events: with two apis each device goes offline once and comes back once", async () => {
  await onEachStoreTwice(async (one, other) => {
    const clock = new RunningClock();
    const options = { ...clock.options, watchIntervalMs: 20 };
    await using api = await startTestApi(one, options);
    await using second = await startTestApi(other, options);
    await using stream = await openEvents(`${second.url}/events?after=0`);
    const kinds: string[] = [];
    const ids = ["a", "b"];
    for (let cycle = 0; cycle < 3; cycle++) {
      await addPackets(one, { a: 1, b: 1 }, { receivedAtMs: clock.unixMs });
      if (cycle > 0) {
        for (const _ of ids) kinds.push((await stream.nextOf("online")).data.kind);
      }
      // Readable for so long, which the apis have to notice before the devices' time has come.
      await until(
        async () => (await (await fetch(`${api.url}/fleet`)).json()).online === 2,
        "both are online",
      );
      await until(async () => (await (await fetch(`${second.url}/fleet`)).json()).online === 2, "for both");
      clock.pass(60_001);
      for (const _ of ids) kinds.push((await stream.nextOf("offline")).data.kind);
    }
    const { events, next } = await (await fetch(`${api.url}/events?after=0`)).json();
    const [off, on] = ["offline", "online"];
    assertEquals(kinds, [off, off, on, on, off, off, on, on, off, off]);
    assertEquals(events.map(({ kind }: { kind: string }) => kind), kinds);
    for (const id of ids) {
      const own = events.filter(({ device_id }: { device_id: string }) => device_id === id);
      assertEquals(own.map(({ kind }: { kind: string }) => kind), [off, on, off, on, off]);
    }
    assertEquals(next, events.at(-1).id);
    const later = await (await fetch(`${api.url}/events?after=${events[3].id}&limit=2`)).json();
    assertEquals(later.events, events.slice(4, 6));

    // Resumed after the fourth.
    await using resumed = await openEvents(`${api.url}/events`, { "last-event-id": String(events[3].id) });
    for (const event of events.slice(4)) assertEquals((await resumed.next())?.data, event);
  });
});

Deno.test("GET /events: after an outage no device is offline before it had time to send", async () => {
  await using redis = await startRedis({ appendonly: "yes", appendfsync: "always" });
  const clock = new RunningClock();
  const store = await openStore(redis, { commandTimeoutMs: 500 });
  try {
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    await using api = await startTestApi(store, { ...clock.options, watchIntervalMs: 5 });
    const status = async () => {
      const response = await fetch(`${api.url}/devices/a`);
      const { status } = await response.json();
      return response.status === 200 ? status : response.status;
    };
    assertEquals(await status(), "online");
    await redis.kill9();
    clock.pass(61_000);
    await until(async () => await status() === 503, "the store is lost");
    await redis.start();
    await until(async () => await status() === "offline", "the store is back");
    const events = async () => (await (await fetch(`${api.url}/events?after=0`)).json()).events.length;
    clock.pass(30_000);
    for (let looks = 0; looks < 10; looks++) assertEquals([await status(), await events()], ["offline", 0]);
    clock.pass(31_000);
    await until(async () => await events() === 1, "the device is offline");
  } finally {
    await store.close();
  }
});
