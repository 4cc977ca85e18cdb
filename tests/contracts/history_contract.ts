/**
 * The part of the stores' contract about packets over time.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import {
  everyHourThenEveryMinute,
  hour,
  minute,
  newest,
  nonEmpty,
  send,
  start,
  sum,
  type TestStores,
} from "./parts.ts";

/** Registers the tests of histories of devices and of the fleet. */
export function testHistories(test: TestStores): void {
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
    const times = everyHourThenEveryMinute();
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
}

/** `from` + … + `to`. */
function sumOfRange(from: number, to: number): number {
  return (from + to) * (to - from + 1) / 2;
}
