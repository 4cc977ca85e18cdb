/**
 * The part of the stores' contract that the monitor lives on: summaries, changes, history, events,
 * delivery, instances.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";

import { CHANGES_MAX_BYTES } from "../../src/store/devices.ts";
import { EVENTS_KEPT } from "../../src/store/events.ts";
import type { Period } from "../../src/store/history.ts";
import { INSTANCE_EXPIRY_MS } from "../../src/store/instances.ts";
import type { Store } from "../../src/store/store.ts";
import { batch, bytes, delta, now } from "../support/batches.ts";
import { instanceReport } from "../support/instance_report.ts";

const minute = 60_000, hour = 60 * minute;
/** The beginning of an hour. */
const start = now - now % hour;

/** Registers the tests with `test`, which gives each two stores on the same empty place. */
export function testMonitoring(
  test: (title: string, body: (store: Store, other: Store) => Promise<void>) => void,
): void {
  let sequence = 0;
  const send = async (store: Store, atMs: number, ...devices: [id: string, packets: number][]) => {
    const deltas = devices.map(([id, packets]) => delta(id, packets));
    const sent = { ...batch(++sequence, { devices: deltas }), producer: `p${sequence}`, receivedAtMs: atMs };
    assertEquals(await store.apply(sent), []);
  };

  test("summaries() returns devices without payload, in any number and order", async (store, other) => {
    await store.apply({
      ...batch(1, { devices: [delta("a", 2, 77), delta("b", 1, 5)] }),
      receivedAtMs: 1000,
    });
    await store.apply({ ...batch(2, { devices: [delta("a", 3, 66)] }), receivedAtMs: 2000 });
    const a = { deviceId: "a", count: 5, firstSeenMs: 1000, lastSeenMs: 2000, timestampMs: 77, online: true };
    const b = { deviceId: "b", count: 1, firstSeenMs: 1000, lastSeenMs: 1000, timestampMs: 5, online: true };
    const byId = (x: { deviceId: string }, y: { deviceId: string }) => x.deviceId < y.deviceId ? -1 : 1;
    assertEquals([...await other.summaries(["b", "nobody", "a"])].sort(byId), [a, b]);
    assertEquals(await other.summaries([]), []);
    assertEquals((await Array.fromAsync(other.scan())).flat().sort(byId), [a, b]);
  });

  test("payloads() returns the beginnings of payloads", async (store) => {
    const long = new Uint8Array(1000).fill(7);
    const devices = [{ ...delta("a", 1), payload: long }, delta("b", 1, 1, "short"), delta("c", 1, 1, "")];
    await store.apply(batch(1, { devices }));
    const previews = await store.payloads(["c", "nobody", "b", "a"], 5);
    assertEquals(previews.size, 3);
    assertEquals(previews.get("a"), { bytes: long.slice(0, 5), totalBytes: 1000 });
    assertEquals(previews.get("b"), { bytes: bytes("short"), totalBytes: 5 });
    assertEquals(previews.get("c"), { bytes: new Uint8Array(), totalBytes: 0 });
    assertEquals((await store.payloads([], 5)).size, 0);
  });

  test("changes() returns each device changed since a version once, to each reader", async (store, other) => {
    const begin = await store.changes();
    assertEquals(begin.devices, "all");
    assertEquals(await changedSince(store, begin.version), []);
    await send(store, now, ["a", 1], ["b", 1]);
    const one = await other.changes();
    await send(other, now, ["b", 1], ["c", 1]);
    await store.remove("a");
    await store.remove("nobody");
    await store.markOffline(["c"], now, now);
    const two = await store.changes(one.version);
    assertEquals(await changedSince(store, one.version), ["a", "b", "c"]);
    assertLess(one.version, two.version);
    await store.markOffline(["b", "c"], now + 1, now + 2);
    assertEquals(await changedSince(other, two.version), ["b", "c"]);
    const three = await other.changes(two.version);
    assertEquals(await store.changes(three.version), { version: three.version, devices: new Map() });
    assertEquals((await store.changes(three.version + 1)).devices, "all");
  });

  test("changes() returns the current state of a changed device", async (store, other) => {
    await send(store, now, ["a", 1], ["b", 1], ["c", 1]);
    const { version } = await store.changes();
    await send(store, now, ["a", 1], ["器 🌡️", 1]);
    await send(other, now + 5, ["a", 2 ** 40], ["b", 2]);
    await store.remove("b");
    await store.remove("c");
    await send(store, now + 9, ["c", 7]);
    await store.markOffline(["a"], now + 10, now + 20);
    await send(store, now + 30, ["a", 3]);
    const { devices } = await store.changes(version);
    assert(devices !== "all");
    assertEquals([...devices.keys()].toSorted(), ["a", "b", "c", "器 🌡️"]);
    for (const [deviceId, told] of devices) {
      if (told !== undefined) assertEquals([told], await store.summaries([deviceId]));
    }
    assertEquals(devices.get("b"), undefined);
  });

  test("changes() has nothing of a batch that was fenced or repeated", async (store) => {
    const first = batch(1, { devices: [delta("a", 1)] });
    await store.apply(first);
    const { version } = await store.changes();
    await store.apply(first);
    const fenced = [{ session: "unknown", epoch: 1, from: 0, to: 1 }];
    await store.apply(batch(2, { devices: [delta("a", 1)], sessions: fenced }));
    assertEquals(await store.changes(version), { version, devices: new Map() });
    assertEquals(newest((await store.fleetHistory(now)).seconds), 1);
    assertEquals(newest((await store.history("a", now))!.minutes), 1);
  });

  test("changes() since a version that is too old requires a scan", async (store) => {
    await send(store, now, ["first", 1]);
    const { version } = await store.changes();
    const devices = Array.from({ length: 3000 }, (_, i) => delta(`${i} ${"x".repeat(120)}`, 1));
    const batches = Math.ceil(CHANGES_MAX_BYTES / 3000 / 120) + 1;
    for (let i = 1; i < batches; i++) await store.apply(batch(i, { devices }));
    const late = await store.changes();
    await store.apply(batch(batches, { devices }));
    assertEquals((await store.changes(version)).devices, "all");
    assertEquals((await changedSince(store, late.version)).length, 3000);
    assertEquals(await changedSince(store, (await store.changes()).version), []);
  });

  test(
    "history(): minutes and hours of a device follow the clock, and older ones are removed",
    async (store, other) => {
      assertEquals(await store.history("a", start), undefined);
      await send(store, start + 5, ["a", 1]);
      await send(store, start + 59_999, ["a", 2]);
      await send(store, start + minute, ["a", 4]);
      await send(store, start + 4 * minute, ["a", 8]);
      const early = (await other.history("a", start + 5 * minute))!;
      assertEquals([early.minutes.length, early.hours.length], [60, 24]);
      assertEquals(early.minutes.slice(-6).map(({ packets }) => packets), [3, 4, 0, 0, 8, 0]);
      assertEquals(early.minutes.at(-6)?.startMs, start);
      assertEquals(early.hours.at(-1), { startMs: start, packets: 15 });
      assertEquals(sum(early.minutes), 15);

      await send(store, start + 62 * minute, ["a", 16]);
      const later = (await store.history("a", start + 62 * minute))!;
      assertEquals(nonEmpty(later.minutes), [[start + 4 * minute, 8], [start + 62 * minute, 16]]);
      assertEquals(nonEmpty(later.hours), [[start, 15], [start + hour, 16]]);
      await send(store, start + 30 * hour, ["a", 32]);
      const nextDay = (await store.history("a", start + 30 * hour))!;
      assertEquals(nonEmpty(nextDay.minutes), [[start + 30 * hour, 32]]);
      assertEquals(nonEmpty(nextDay.hours), [[start + 30 * hour, 32]]);
      assertEquals(nonEmpty((await store.history("a", start + 100 * hour))!.hours), []);
    },
  );

  test("history() has all sixty minutes and all twenty-four hours", async (store) => {
    const times = talkEveryHourThenEveryMinute();
    for (const [i, atMs] of times.entries()) await send(store, atMs, ["a", i + 1]);
    const { minutes, hours } = (await store.history("a", times.at(-1)!))!;
    assertEquals(nonEmpty(minutes).map(([, packets]) => packets), times.map((_, i) => i + 1).slice(-60));
    assertEquals(nonEmpty(hours).length, 24);
    assertEquals(sum(hours.slice(0, -2)), sumOfRange(times.length - 62 - 21, times.length - 62));
  });

  test("history(): a late batch counts in the latest minute", async (store) => {
    await send(store, start + 10 * minute, ["a", 1]);
    await send(store, start, ["a", 2]);
    const { minutes, hours } = (await store.history("a", start))!;
    assertEquals(nonEmpty(minutes), [[start + 10 * minute, 3]]);
    assertEquals(nonEmpty(hours), [[start, 3]]);
    assertEquals(nonEmpty((await store.fleetHistory(start + 10 * minute)).minutes), [
      [start, 2],
      [start + 10 * minute, 1],
    ]);
  });

  test("history() keeps every digit of large numbers", async (store) => {
    const numbers = [127, 128, 16_383, 16_384, 2 ** 32 - 1, 2 ** 32, 2 ** 51 + 1, 0x7f_ff_ff_80];
    for (const [i, packets] of numbers.entries()) await send(store, start + i * minute, ["a", packets]);
    const { minutes, hours } = (await store.history("a", start + 7 * minute))!;
    assertEquals(minutes.slice(-8).map(({ packets }) => packets), numbers);
    assertEquals(newest(hours), numbers.reduce((a, b) => a + b));
    const fleet = await store.fleetHistory(start + 7 * minute);
    assertEquals(fleet.minutes.slice(-8).map(({ packets }) => packets), numbers);
    assertEquals(newest(fleet.hours), newest(hours));
  });

  test(
    "fleetHistory() adds up all devices, removed ones too",
    async (store, other) => {
      await send(store, start + 999, ["a", 1], ["b", 2]);
      await send(other, start + 1000, ["a", 4]);
      await store.remove("a");
      await send(store, start + 61_500, ["b", 8]);
      const { seconds, minutes, hours } = await other.fleetHistory(start + 62_000);
      assertEquals([seconds.length, minutes.length, hours.length], [900, 60, 24]);
      assertEquals(nonEmpty(seconds), [[start, 3], [start + 1000, 4], [start + 61_000, 8]]);
      assertEquals(nonEmpty(minutes), [[start, 7], [start + minute, 8]]);
      assertEquals(nonEmpty(hours), [[start, 15]]);
      assertEquals(seconds.at(-1)?.startMs, start + 62_000);
      const later = await store.fleetHistory(start + 15 * minute + 1000);
      assertEquals(nonEmpty(later.seconds), [[start + 61_000, 8]]);
      assertEquals(later.seconds[0]?.startMs, start + 2000);
      assertEquals(nonEmpty((await store.fleetHistory(start + 24 * hour)).hours), []);
      assertEquals(nonEmpty((await store.fleetHistory(start + 24 * hour - 1)).hours), [[start, 15]]);
    },
  );

  test("removedPackets() adds up the packets of each removed device", async (store, other) => {
    assertEquals(await store.removedPackets(), 0);
    await send(store, start, ["a", 3], ["b", 2 ** 40]);
    await store.remove("a");
    await store.remove("a");
    await store.remove("nobody");
    assertEquals(await other.removedPackets(), 3);
    await send(store, start + 1, ["a", 4]);
    await other.remove("a");
    await other.remove("b");
    assertEquals(await store.removedPackets(), 7 + 2 ** 40);
    // It is no part of the history.
    const { seconds } = await store.fleetHistory(start + 999);
    assertEquals(sum(seconds), 7 + 2 ** 40);
  });

  test("remove() removes a device's history", async (store) => {
    await send(store, start, ["a", 5]);
    await send(store, start + 2 * hour, ["a", 5]);
    await store.remove("a");
    assertEquals(await store.history("a", start), undefined);
    assertEquals(await store.summaries(["a"]), []);
    assertEquals((await store.payloads(["a"], 10)).size, 0);
    await send(store, start + 2 * hour + minute, ["a", 1]);
    assertEquals(nonEmpty((await store.history("a", start + 3 * hour))!.minutes), [[
      start + 2 * hour + minute,
      1,
    ]]);
  });

  test(
    "markOffline(): a device goes offline once and comes back once, for any number of watchers",
    async (store, other) => {
      await send(store, 1000, ["a", 1], ["b", 1]);
      await send(store, 5000, ["c", 1]);
      const ids = ["a", "a", "nobody", "b", "c"];
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

  test("instances() returns those that reported recently, with their last report", async (store, other) => {
    assertEquals(await store.instances(now), []);
    const report = (instance: string, worker: number, reportedMs: number) =>
      instanceReport({ instance, host: "höst", worker, ingestAddress: "[::]:50051", reportedMs, rate: 12.5 });
    await store.reportInstance(report("b", 10, now));
    await store.reportInstance(report("a", 2, now));
    await other.reportInstance(report("b", 10, now + 1000));
    assertEquals(await other.instances(now + 1000), [report("a", 2, now), report("b", 10, now + 1000)]);
    const gone = now + INSTANCE_EXPIRY_MS + 1;
    assertEquals(await store.instances(gone), [report("b", 10, now + 1000)]);
    await store.reportInstance(report("c", 1, gone));
    // It is not only hidden.
    assertEquals((await store.instances(now + 1)).map(({ instance }) => instance), ["c", "b"]);
    // Of an older version.
    const { version: _, cpuSeconds: __, residentBytes: ___, eventLoopLagMs: ____, ...old } = report(
      "d",
      1,
      gone,
    );
    await store.reportInstance(old as typeof old & ReturnType<typeof report>);
    const [found] = (await store.instances(gone)).filter(({ instance }) => instance === "d");
    assertEquals([found?.version, found?.cpuSeconds, found?.eventLoopLagMs], ["unknown", 0, 0]);
    await store.removeInstance("d");
    await other.removeInstance("c");
    await other.removeInstance("nobody");
    assertEquals((await store.instances(gone)).map(({ instance }) => instance), ["b"]);
  });
}

/** Times of a device that talks in 26 hours, and then in 62 minutes: more than is kept of either. */
export function talkEveryHourThenEveryMinute(): number[] {
  const hours = Array.from({ length: 26 }, (_, i) => start + i * hour);
  return [...hours, ...Array.from({ length: 62 }, (_, i) => start + 26 * hour + i * minute)];
}

/** Ids of the devices that changed, sorted. */
async function changedSince(store: Store, version: number): Promise<string[]> {
  const { devices } = await store.changes(version);
  assert(devices !== "all", "the changes are kept no more");
  return [...devices.keys()].sort();
}

/** `from` + … + `to`. */
function sumOfRange(from: number, to: number): number {
  return (from + to) * (to - from + 1) / 2;
}

function newest(periods: readonly Period[]): number {
  const last = periods.at(-1);
  assert(last);
  return last.packets;
}

function sum(periods: readonly Period[]): number {
  return periods.reduce((sum, { packets }) => sum + packets, 0);
}

/** Start and packets of the periods that have any. */
function nonEmpty(periods: readonly Period[]): [startMs: number, packets: number][] {
  return periods.filter(({ packets }) => packets > 0).map(({ startMs, packets }) => [startMs, packets]);
}
