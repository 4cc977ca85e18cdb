/**
 * The part of the stores' contract about events and the lease to deliver them.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import { EVENTS_KEPT } from "../../src/store/events.ts";
import { send, type TestStores } from "./parts.ts";

/** Registers the tests of events and their delivery. */
export function testEvents(test: TestStores): void {
  test(
    "markOffline(): a device goes offline once and comes back once, for any number of watchers",
    async (store, other) => {
      await send(store, 1000, ["a", 1], ["b", 1]);
      await send(store, 5000, ["c", 1]);
      const ids = ["a", "a", "missing", "b", "c"];
      const marked = await Promise.all([
        store.markOffline(ids, 5000, 6000),
        other.markOffline(ids, 5000, 6000),
        store.markOffline(["a"], 5000, 6000),
      ]);
      assertEquals(marked.reduce((a, b) => a + b), 2);
      assertEquals(await store.markOffline([], 5000, 6000), 0);
      assertEquals((await store.device("a"))?.online, false);
      assertEquals((await store.device("c"))?.online, true);
      assertEquals((await store.summaries(["b"]))[0]?.online, false);

      await Promise.all([send(store, 7000, ["a", 1]), send(other, 7000, ["a", 1])]);
      await send(store, 8000, ["a", 1]);
      assertEquals((await other.device("a"))?.online, true);
      const events = await other.events(undefined, 100);
      const offline = { kind: "offline", atMs: 6000, lastSeenMs: 1000 } as const;
      assertEquals(
        events.map(({ id: _, ...event }) => event).sort((a, b) => a.deviceId < b.deviceId ? -1 : 1),
        [
          { ...offline, deviceId: "a" },
          { kind: "online", deviceId: "a", atMs: 7000, lastSeenMs: 1000 },
          { ...offline, deviceId: "b" },
        ],
      );
      assertEquals(events.map(({ id }) => id - events[0]!.id), [0, 1, 2]);
    },
  );

  test("markOffline() does not mark a device that sent in the meantime", async (store, other) => {
    await send(store, 1000, ["a", 1]);
    await send(other, 2000, ["a", 1]);
    assertEquals(await store.markOffline(["a"], 2000, 3000), 0);
    assertEquals(await store.events(undefined, 10), []);
    // A batch that was received before the device fell silent does not bring it back.
    assertEquals(await store.markOffline(["a"], 2001, 3000), 1);
    await send(store, 2000, ["a", 1]);
    assertEquals((await store.device("a"))?.online, false);
    await send(store, 2001, ["a", 1]);
    assertEquals((await store.device("a"))?.online, true);
    assertEquals((await store.events(undefined, 10)).map(({ kind }) => kind), ["offline", "online"]);
  });

  test("events() reads from any id on, and the newest are kept", async (store) => {
    assertEquals(await store.events(0, 10), []);
    const ids = Array.from({ length: 1000 }, (_, i) => `device ${i}`);
    const devices = ids.map((id) => [id, 1] as [string, number]);
    await send(store, 0, ...devices);
    const rounds = EVENTS_KEPT / 2000 + 1;
    for (let round = 1; round <= rounds; round++) {
      assertEquals(await store.markOffline(ids, round * 1000, round * 1000), 1000);
      await send(store, round * 1000, ...devices);
    }
    const all = await store.events(0, 2 * EVENTS_KEPT);
    assertEquals(all.length, EVENTS_KEPT);
    const first = all[0]!, last = all.at(-1)!;
    assertEquals(all.map(({ id }) => id), all.map((_, i) => first.id + i));
    assertEquals([first.kind, first.atMs, last.kind, last.atMs], [
      ...["offline", 2000],
      ...["online", rounds * 1000],
    ]);
    assertEquals(await store.events(first.id - 500, 2), all.slice(0, 2));
    assertEquals(await store.events(first.id, 2), all.slice(1, 3));
    assertEquals(await store.events(last.id - 1, 5), [last]);
    assertEquals(await store.events(last.id, 5), []);
    assertEquals(await store.events(last.id + 7, 5), []);
    assertEquals(await store.events(undefined, 3), all.slice(-3));
  });

  test(
    "claimDelivery(): events have one deliverer at a time, and the next continues at its offset",
    async (store, other) => {
      await send(store, 1000, ["a", 1]);
      await store.markOffline(["a"], 2000, 2000);
      const before = (await store.events(0, 1))[0]!.id;
      assertEquals(await store.commitDelivery("one", before, Date.now()), false);
      assertEquals(await store.claimDelivery("one", 60_000, Date.now()), before);
      assertEquals(await other.claimDelivery("two", 60_000, Date.now()), undefined);
      assertEquals(await other.commitDelivery("two", before + 9, Date.now()), false);
      await send(store, 3000, ["a", 1]);
      assertEquals(await store.claimDelivery("one", 60_000, Date.now()), before);
      assertEquals(await store.commitDelivery("one", before + 1, Date.now()), true);
      assertEquals(await store.claimDelivery("one", 1, Date.now()), before + 1);
      let delivered: number | undefined;
      while (delivered === undefined) delivered = await other.claimDelivery("two", 60_000, Date.now());
      assertEquals(delivered, before + 1);
      assertEquals(await store.commitDelivery("one", before + 5, Date.now()), false);
      assertEquals(await store.claimDelivery("one", 60_000, Date.now()), undefined);
      assertEquals(await other.claimDelivery("two", 60_000, Date.now()), before + 1);
    },
  );

  test("claimDelivery(): the first deliverer of all begins with the first event", async (store) => {
    const delivered = await store.claimDelivery("one", 60_000, Date.now());
    await send(store, 1000, ["a", 1]);
    await store.markOffline(["a"], 2000, 2000);
    // No id between the two: none is missing.
    assertEquals((await store.events(0, 5)).map(({ id }) => id), [delivered! + 1]);
    assertEquals(await store.claimDelivery("one", 60_000, Date.now()), delivered);
  });
}
