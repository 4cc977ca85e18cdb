/**
 * Rates and the order of devices in memory, on a clock of the tests'.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { DeviceIndex } from "../src/api/device_index.ts";
import { forSeeds } from "./random.ts";

const start = 1_700_000_000_000;

function summary(deviceId: string, count: number, lastSeenMs: number) {
  return { deviceId, count, firstSeenMs: start, lastSeenMs, timestampMs: lastSeenMs, online: true };
}

Deno.test("A device that sends evenly has its rate, which fades when it stops", () => {
  const index = new DeviceIndex(60_000);
  index.set(summary("a", 1_000_000, start - 5_000), 1, start);
  index.sweep(1, start);
  const rates = (nowMs: number) => {
    const { rate10s, rate1m } = index.viewAt(index.slotOf("a")!, nowMs);
    return [rate10s, rate1m];
  };
  // What was counted before is no rate; ten seconds are not over.
  assertEquals(rates(start + 5_000), [null, 0]);
  let count = 1_000_000;
  let nowMs = start;
  while (nowMs < start + 119_750) {
    nowMs += 250;
    count += 5;
    index.set(summary("a", count, nowMs), 1, nowMs);
    if (nowMs < start + 15_000) continue;
    const [rate10s, rate1m] = rates(nowMs) as [number, number];
    assert(Math.abs(rate10s - 20) <= 1, `${rate10s} packets/s over ten seconds`);
    assert(Math.abs(rate1m - 20) <= 1, `${rate1m} packets/s over a minute`);
  }
  nowMs += 250;
  assertEquals(rates(nowMs + 5_000), [10, 18.333]);
  assertEquals(rates(nowMs + 15_000), [0, 15]);
  assertEquals(rates(nowMs + 65_000), [0, 0]);
  // After a pause longer than all that is kept, nothing old comes back.
  assertEquals(rates(nowMs + 3_600_000), [0, 0]);
});

Deno.test("A device that was removed and came back counts anew, and no neighbour gets its packets", () => {
  const index = new DeviceIndex(60_000);
  index.sweep(1, start - 60_000);
  index.set(summary("a", 600, start), 1, start);
  index.delete("a");
  index.set(summary("b", 60, start), 1, start);
  assertEquals(index.viewAt(index.slotOf("b")!, start).rate1m, 1);
  index.set(summary("a", 120, start), 1, start);
  assertEquals(index.viewAt(index.slotOf("a")!, start).rate1m, 2);
});

Deno.test("A device whose store went back has no packets for that, and one that began again has", () => {
  const index = new DeviceIndex(60_000);
  index.set(summary("a", 900, start), 1, start);
  index.sweep(1, start);
  index.set(summary("a", 600, start), 2, start);
  const rate = () => index.viewAt(index.slotOf("a")!, start + 60_000).rate1m;
  assertEquals(rate(), 0);
  index.set({ ...summary("a", 120, start + 60_000), firstSeenMs: start + 60_000 }, 3, start + 60_000);
  assertEquals(rate(), 2);
});

Deno.test("Thousands of devices are sorted as they come, between removals and returns too", async () => {
  await forSeeds(3, (random) => {
    const index = new DeviceIndex(60_000);
    const known = new Set<string>();
    for (let step = 1; step <= 10_000; step++) {
      const id = `d${random.int(1, 8_000)}`;
      if (random.chance(0.9)) {
        index.set(summary(id, 1, start), 1, start);
        known.add(id);
      } else {
        index.delete(id);
        known.delete(id);
      }
      if (step % 2_500 === 0) assertEquals(index.sorted().ids, [...known].sort());
    }
  });
});

Deno.test("Devices stay sorted, each once, whatever is added, removed and swept", async () => {
  await forSeeds(50, (random) => {
    const index = new DeviceIndex(60_000);
    const known = new Set<string>();
    for (let step = 0; step < 100; step++) {
      for (let i = random.int(0, 5); i > 0; i--) {
        const id = `d${random.int(1, 30)}`;
        if (random.chance(0.6)) {
          index.set(summary(id, 1, start), 1, start);
          known.add(id);
        } else {
          index.delete(id);
          known.delete(id);
        }
      }
      if (random.chance(0.3)) {
        const { ids, slots } = index.sorted();
        assertEquals(ids, [...known].sort());
        assertEquals([...slots], ids.map((id) => index.slotOf(id)));
      }
    }
    index.set(summary("kept", 1, start), 2, start);
    index.sweep(2, start);
    assertEquals(index.sorted().ids, ["kept"]);
  });
});
