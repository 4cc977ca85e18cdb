/**
 * The part of the stores' contract about what devices measure.
 *
 * @module
 */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";

import type { Store } from "../../src/store/store.ts";
import { batch, delta } from "../support/batches.ts";
import { until } from "../support/until.ts";
import { hour, minute, start, type TestStores } from "./parts.ts";

let producers = 0;

/** Applies a batch of a producer of its own, received at `atMs`: one packet of each device, with this JSON. */
async function measure(
  store: Store,
  atMs: number,
  measured: Readonly<Record<string, unknown>>,
): Promise<void> {
  const devices = Object.entries(measured).map(([id, payload]) =>
    delta(id, 1, atMs, JSON.stringify(payload))
  );
  const sent = { ...batch(1, { devices }), producer: `values ${++producers}`, receivedAtMs: atMs };
  assertEquals(await store.apply(sent), []);
}

/** Waits until all samples are added to the values. */
async function folded(store: Store): Promise<void> {
  await until(async () => {
    await store.ping();
    return (await store.waitingSamples()).bytes === 0;
  }, "no sample waits");
}

/** The latest numbers of a device. */
async function numbersOf(store: Store, deviceId: string): Promise<Record<string, number>> {
  const values = (await store.latestValues([deviceId])).get(deviceId);
  return Object.fromEntries(values?.values.map(({ name, value }) => [name, value]) ?? []);
}

/** Registers the tests of values. */
export function testValues(test: TestStores): void {
  test(
    "latestValues() has the latest number and text of each name, also of earlier packets",
    async (store, other) => {
      assertEquals(await store.latestValues(["a"]), new Map());
      await measure(store, start, { a: { temperature: 21.5, fw: "1.0", on: true }, b: "no value" });
      await measure(store, start + 5000, { a: { humidity: 0.1 + 0.2, fw: "1.1" } });
      await folded(store);
      assertEquals(
        await other.latestValues(["a", "b", "c"]),
        new Map([["a", {
          atMs: start + 5000,
          values: [
            { name: "temperature", value: 21.5, atMs: start },
            { name: "on", value: 1, atMs: start },
            { name: "humidity", value: 0.1 + 0.2, atMs: start + 5000 },
          ],
          attributes: [{ name: "fw", value: "1.1" }],
          dropped: 0,
        }]]),
      );
    },
  );

  test("values: the first 16 names of a device are kept, and how many were left out", async (store) => {
    const names = (from: number, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${from + i}`, i]));
    await measure(store, start, { a: names(0, 12) });
    await measure(store, start + 1000, { a: names(10, 40) });
    await folded(store);
    const values = (await store.latestValues(["a"])).get("a")!;
    assertEquals(values.values.map(({ name }) => name), Object.keys(names(0, 16)));
    assertEquals(values.dropped, 40 - 6);
    // A name that is not sent for an hour gives way.
    await measure(store, start + 2 * hour, { a: { later: 5 } });
    await folded(store);
    assertEquals((await numbersOf(store, "a")).later, 5);
    assertEquals((await store.latestValues(["a"])).get("a")!.values.length, 16);
  });

  test("valueHistory() has min, mean and max of each minute and hour", async (store, other) => {
    assertEquals(await store.valueHistory("a", "t"), undefined);
    await measure(store, start, { a: { t: 10, other: 1 } });
    await measure(store, start + 1000, { a: { t: 20 } });
    await measure(store, start + 2000, { a: { t: 60 } });
    await measure(store, start + 3 * minute, { a: { t: -5 } });
    await measure(store, start + hour, { a: { t: 7 } });
    await folded(store);
    const { minutes, hours } = (await other.valueHistory("a", "t"))!;
    assertEquals(minutes.map(({ startMs }) => startMs - start), [0, 3 * minute, hour]);
    const [first, second, last] = minutes;
    assertPeriod(first!, [10, 30, 60], 65 / 256);
    assertPeriod(second!, [-5, -5, -5], 65 / 256);
    assertEquals(last, { startMs: start + hour, min: 7, mean: 7, max: 7 });
    assertEquals(hours.map(({ startMs }) => startMs - start), [0, hour]);
    assertPeriod(hours[0]!, [-5, 85 / 4, 60], 65 / 64);
    assertEquals(await store.valueHistory("a", "none"), undefined);
  });

  test("valueHistory() keeps an hour of minutes and thirty days of hours", async (store) => {
    for (let i = 0; i < 745; i += 5) await measure(store, start + i * hour, { a: { t: i } });
    for (let i = 0; i < 100; i++) {
      await measure(store, start + 745 * hour + i * minute, { a: { t: 745 + i / 100 } });
    }
    await folded(store);
    const nowMs = start + 745 * hour + 99 * minute,
      { minutes, hours } = (await store.valueHistory("a", "t"))!;
    assert(minutes[0]!.startMs <= nowMs - 59 * minute);
    assert(minutes[0]!.startMs >= nowMs - 80 * minute);
    assertEquals(
      minutes.map(({ startMs }) => startMs),
      minutes.map((_, i) => minutes[0]!.startMs + i * minute),
    );
    assert(hours[0]!.startMs <= nowMs - 715 * hour);
    assert(hours[0]!.startMs >= nowMs - 745 * hour);
    for (const { startMs, mean } of hours.slice(0, -2)) {
      assertAlmostEquals(mean, (startMs - start) / hour, 24 / 64);
    }
  });

  test("values: of the packets of a quarter of a second, the latest is a sample", async (store) => {
    for (let i = 0; i < 10; i++) await measure(store, start + i * 100, { a: { t: i } });
    await folded(store);
    const { minutes } = (await store.valueHistory("a", "t"))!;
    // Those received at 200, 400, 700 and 900 ms.
    assertEquals(minutes, [{ startMs: start, min: 2, mean: (2 + 4 + 7 + 9) / 4, max: 9 }]);
  });

  test("valueChanges() has the devices whose values changed, removed ones too", async (store, other) => {
    await measure(store, start, { a: { t: 1 }, b: { t: 1 } });
    await folded(store);
    const { cursor, deviceIds } = await other.valueChanges();
    assertEquals(deviceIds, "all");
    assertEquals(await other.valueChanges(cursor), { cursor, deviceIds: [] });
    await measure(store, start + 1000, { b: { t: 2 }, c: { t: 2 }, d: "no value" });
    await folded(store);
    const changes = await other.valueChanges(cursor);
    assertEquals([...changes.deviceIds].sort(), ["b", "c"]);
    await store.remove("b");
    const removed = await other.valueChanges(changes.cursor);
    assertEquals(removed.deviceIds, ["b"]);
    assertEquals((await other.valueChanges("12345")).deviceIds, "all");
  });

  test("remove() removes values, and samples that wait", async (store) => {
    await measure(store, start, { a: { t: 1 }, b: { t: 1 } });
    await measure(store, start + minute, { a: { t: 2 } });
    await folded(store);
    await measure(store, start + 2 * minute, { a: { t: 3 }, b: { t: 3 } });
    assert(await store.remove("a"));
    assertEquals(await numbersOf(store, "a"), {});
    await folded(store);
    assertEquals(await numbersOf(store, "a"), {});
    assertEquals(await numbersOf(store, "b"), { t: 3 });
    // It comes back while samples of before wait.
    await measure(store, start + 3 * minute, { a: { t: 4, old: 1 } });
    await store.remove("a");
    await measure(store, start + 4 * minute, { a: { t: 5 } });
    await folded(store);
    assertEquals(await numbersOf(store, "a"), { t: 5 });
    const { minutes } = (await store.valueHistory("a", "t"))!;
    assertEquals(minutes, [{ startMs: start + 4 * minute, min: 5, mean: 5, max: 5 }]);
  });

  test("values: a batch that is sent again is sampled once", async (store) => {
    const sent = { ...batch(1, { devices: [delta("a", 1, start, '{"t":4}')] }), receivedAtMs: start };
    await store.apply(sent);
    await store.apply(sent);
    await measure(store, start + 1000, { a: { t: 10 } });
    await folded(store);
    assertEquals((await store.valueHistory("a", "t"))!.minutes, [{
      startMs: start,
      min: 4,
      mean: 7,
      max: 10,
    }]);
  });
}

function assertPeriod(
  { min, mean, max }: { readonly min: number; readonly mean: number; readonly max: number },
  [least, middle, greatest]: readonly [number, number, number],
  tolerance: number,
): void {
  assertAlmostEquals(min, least, tolerance);
  assertAlmostEquals(mean, middle, tolerance);
  assertAlmostEquals(max, greatest, tolerance);
}
