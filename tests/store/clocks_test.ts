/**
 * The stores when clocks jump: their own, the machine's, a device's.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";

import { SESSION_EXPIRY_MS } from "../../src/store/packets.ts";
import { ExpiryClock, MAX_STEP_MS } from "../../src/store/sqlite/expiry_clock.ts";
import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../src/store/store.ts";
import { advance, batch, delta } from "../support/batches.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";

const hour = 3_600_000, day = 24 * hour;

/** The same on both stores, each empty. */
function test(name: string, body: (store: Store) => Promise<void>): void {
  Deno.test(`SqliteStore: ${name}`, () => withFile((path) => withStore(path, body)));
  Deno.test(`RedisStore: ${name}`, async () => {
    await using server = await startRedis();
    const store = await openStore(server);
    try {
      await body(store);
    } finally {
      await store.close();
    }
  });
}

test("apply() corrects a last seen that is ahead of the clock", async (store) => {
  const now = Date.now();
  await store.apply({ ...batch(1, { devices: [delta("a", 1)] }), receivedAtMs: now + hour });
  assertEquals((await store.device("a"))?.lastSeenMs, now + hour);
  await store.apply({ ...batch(2, { devices: [delta("a", 2)] }), receivedAtMs: now });
  const state = await store.device("a");
  assertEquals([state?.lastSeenMs, state?.count], [now, 3]);
  // No further than it has to: a batch that arrived late does not revert it.
  await store.apply({ ...batch(3, { devices: [delta("a", 1)] }), receivedAtMs: now - hour });
  assertEquals((await store.device("a"))?.lastSeenMs, now);
});

test("markOffline() marks a device whose last seen is ahead of the clock, and it comes back", async (store) => {
  const now = Date.now();
  await store.apply({ ...batch(1, { devices: [delta("a", 1), delta("b", 1)] }), receivedAtMs: now + hour });
  await store.apply({ ...batch(2, { devices: [delta("b", 1)] }), receivedAtMs: now });
  assertEquals(await store.markOffline(["a", "b"], now - 10_000, now), 1);
  await store.apply({ ...batch(3, { devices: [delta("a", 1)] }), receivedAtMs: now + 1 });
  const events = await store.events(0, 10);
  assertEquals(events.map(({ id: _, ...event }) => event), [
    { kind: "offline", deviceId: "a", atMs: now, lastSeenMs: now },
    { kind: "online", deviceId: "a", atMs: now + 1, lastSeenMs: now + 1 },
  ]);
  assertEquals((await store.device("a"))?.online, true);
});

test("apply() replaces a timestamp far ahead of its arrival with that of the next packet", async (store) => {
  const now = Date.now();
  const latest = async () => {
    const state = await store.device("a");
    return [state!.timestampMs - now, new TextDecoder().decode(state!.payload)];
  };
  let sequence = 0;
  const send = (receivedAtMs: number, timestampMs: number, payload: string) =>
    store.apply({ ...batch(++sequence, { devices: [delta("a", 1, timestampMs, payload)] }), receivedAtMs });
  await send(now, now + day, "ahead");
  assertEquals(await latest(), [day, "ahead"]);
  await send(now + 1000, now + 1000, "right");
  assertEquals(await latest(), [1000, "right"]);
  // Up to a minute ahead it is believed, and what comes late in order of arrival changes nothing.
  await send(now + 2000, now + 30_000, "a little ahead");
  await send(now + 3000, now + 3000, "right");
  assertEquals(await latest(), [30_000, "a little ahead"]);
  await send(now + day, now + day, "later");
  await send(now + 4000, now + 4000, "waited for the store");
  assertEquals(await latest(), [day, "later"]);
});

test("instances() omits a report that is ahead of the clock", async (store) => {
  const now = Date.now();
  const report = { host: "h", ingestAddress: "a", worker: 0, instance: "dead", reportedMs: now + hour };
  // deno-lint-ignore no-explicit-any -- the rest of a report does not matter here
  await store.reportInstance(report as any);
  assertEquals(await store.instances(now), []);
  // deno-lint-ignore no-explicit-any -- as above
  await store.reportInstance({ ...report, instance: "alive", reportedMs: now } as any);
  assertEquals((await store.instances(now)).map(({ instance }) => instance), ["alive"]);
  assertEquals(await store.instances(now + hour), []);
});

test("trimFleetHistory() removes periods ahead of the clock, so that none is counted twice", async (store) => {
  const now = Date.now() - Date.now() % (24 * hour) + 12 * hour + 30_000;
  let sequence = 0;
  const send = (receivedAtMs: number) =>
    store.apply({ ...batch(++sequence, { devices: [delta("a", 1)] }), receivedAtMs });
  for (const ahead of [5 * hour, hour, 600_000, 70_000, 1000, 0, -1000]) await send(now + ahead);
  await store.trimFleetHistory(now);
  const sums = async (atMs: number) => {
    const { seconds, minutes, hours } = await store.fleetHistory(atMs);
    return [seconds, minutes, hours].map((list) => list.reduce((sum, { packets }) => sum + packets, 0));
  };
  // The current minute and hour keep what was counted in them.
  assertEquals(await sums(now), [2, 3, 5]);
  assertEquals(await sums(now + 600_000), [2, 3, 5]);
  assertEquals((await sums(now + 6 * hour))[2], 5);
  await send(now + 600_000);
  assertEquals(await sums(now + 600_000), [3, 4, 6]);
});

Deno.test("SqliteStore: a delivery claimed before the clock was set back can be claimed by another", () =>
  withFile((path) =>
    withStore(path, async (store) => {
      const now = Date.now();
      assertEquals(await store.claimDelivery("one", 10_000, now + hour), 0);
      assertEquals(await store.claimDelivery("two", 10_000, now), 0);
      assertEquals(await store.claimDelivery("three", 10_000, now), undefined);
    })
  ));

Deno.test("SqliteStore: sessions outlive a clock that jumps forward and back", () =>
  withFile(async (path) => {
    const now = Date.now();
    const other = 1_700_000_000_000;
    await withStore(path, async (store) => {
      const { epoch } = await store.claimSession("s", 0, now);
      let sequence = 0, at = 0;
      const send = async (receivedAtMs: number) => {
        const sessions = [advance("s", epoch, at, ++at)];
        const devices = [delta("a", 1)];
        assertEquals(await store.apply({ ...batch(++sequence, { devices, sessions }), receivedAtMs }), []);
      };
      await send(now);
      await send(now + 2 * SESSION_EXPIRY_MS);
      await send(now + 1000);
      await send(other);
      await send(now + 2000);
      const idle = await store.claimSession("idle", 5, now + 2000);
      const sessions = [advance("idle", idle.epoch, 5, 6)];
      assertEquals(await store.apply({ ...batch(++sequence, { sessions }), receivedAtMs: now + 2000 }), []);
    });
    // Opened with the clock ahead, and used by another client first, which cleans up.
    await withStore(path, async (store) => {
      await store.apply({
        ...batch(1, { devices: [delta("b", 1)] }),
        producer: "q",
        receivedAtMs: now + 366 * day,
      });
      assertEquals((await store.claimSession("s", 0, now + 366 * day)).committed, 5);
      assertEquals((await store.claimSession("idle", 0, now + 366 * day)).committed, 6);
    });
  }));

Deno.test("ExpiryClock.at() follows the given time in small steps, and never goes back", () => {
  const clock = new ExpiryClock(() => undefined);
  assertEquals(clock.at(1000), 1000);
  assertEquals(clock.at(1500), 1500);
  assertEquals(clock.at(1400), 1500);
  assertEquals(clock.at(1600), 1600);
  assertEquals(clock.at(1600 + 10 * day), 1600 + MAX_STEP_MS);
  // Set back: it continues from there.
  assertEquals(clock.at(2000), 1600 + MAX_STEP_MS);
  assertEquals(clock.at(2100), 1700 + MAX_STEP_MS);
  // Batches that waited do not make it go faster.
  for (let i = 0; i < 100; i++) {
    clock.at(2100 + hour);
    clock.at(2100);
  }
  assertEquals(clock.at(2100 + hour), 1700 + MAX_STEP_MS + hour);
});

Deno.test("ExpiryClock.at() begins where an earlier run ended, or shortly after", () => {
  assertEquals(new ExpiryClock(() => 5000).at(5500), 5500);
  assertEquals(new ExpiryClock(() => 5000).at(4000), 5000);
  assertEquals(new ExpiryClock(() => 5000).at(5000 + 30 * day), 5000 + MAX_STEP_MS);
});

Deno.test("SqliteStore: sessions of an old file expire after a week of use", () =>
  withFile(async (path) => {
    const now = Date.now();
    await withStore(path, async (store) => {
      await store.claimSession("old", 3, now);
    });
    await withStore(path, async (store) => {
      for (let atMs = now; atMs <= now + SESSION_EXPIRY_MS + hour; atMs += MAX_STEP_MS) {
        await store.apply({ ...batch((atMs - now) / MAX_STEP_MS + 1, {}), receivedAtMs: atMs });
      }
    });
    const db = new DatabaseSync(path);
    assertEquals(db.prepare("SELECT * FROM sessions").all(), []);
    db.close();
  }));

async function withFile(body: (path: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "tally-clock-" });
  try {
    await body(`${dir}/tally.db`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function withStore(path: string, body: (store: Store) => Promise<void>): Promise<void> {
  const store = await openSqliteStore({ path, ackAfter: { kind: "stored" } });
  try {
    await body(store);
  } finally {
    await store.close();
  }
}
