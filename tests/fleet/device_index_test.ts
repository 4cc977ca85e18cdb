/**
 * Rates and the order of devices in memory, on a clock of the tests'.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { DeviceIndex } from "../../src/fleet/device_index.ts";
import { forSeeds } from "../support/random.ts";

const start = 1_700_000_000_000;

/** Of a device that was first seen an hour before `start` by default. */
function summary(deviceId: string, count: number, lastSeenMs: number, firstSeenMs = start - 3_600_000) {
  return { deviceId, count, firstSeenMs, lastSeenMs, timestampMs: lastSeenMs, online: true };
}

Deno.test("DeviceIndex.viewAt(): a device that sends evenly has its rate, which decreases to 0 when it stops", () => {
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

Deno.test("DeviceIndex: a device that was removed and came back starts at 0, and no other gets its packets", () => {
  const index = new DeviceIndex(60_000);
  index.sweep(1, start - 60_000);
  index.set(summary("a", 600, start), 1, start);
  index.delete("a");
  index.set(summary("b", 60, start), 1, start);
  assertEquals(index.viewAt(index.slotOf("b")!, start).rate1m, 1);
  index.set(summary("a", 120, start), 1, start);
  assertEquals(index.viewAt(index.slotOf("a")!, start).rate1m, 2);
});

/** Each of `sends`: when packets of one device come, and how many. */
function indexOf(sends: readonly (readonly [atMs: number, packets: number])[], completeAtMs: number) {
  const index = new DeviceIndex(60_000);
  index.sweep(1, completeAtMs);
  let count = 0;
  for (const [atMs, packets] of sends) {
    index.set(summary("a", count += packets, atMs, sends[0]![0]), 1, atMs);
  }
  return (nowMs: number) => index.viewAt(index.slotOf("a")!, nowMs);
}

Deno.test("DeviceIndex.viewAt(): a device younger than the window has its rate since its first packet", async () => {
  await forSeeds(20, (random) => {
    const firstMs = start + random.int(0, 60_000);
    const sends = Array.from({ length: 1_000 }, (_, i) => [firstMs + 100 * i, 1] as const);
    for (const ageMs of [2_000, 5_000, 9_900, 20_000, 59_000, 75_000]) {
      const view = indexOf(sends.filter(([atMs]) => atMs <= firstMs + ageMs), start - 3_600_000);
      const { rate10s, rate1m } = view(firstMs + ageMs);
      assert(Math.abs(rate10s! - 10) <= 0.5, `${rate10s} packets/s over ten seconds at ${ageMs} ms`);
      assert(Math.abs(rate1m - 10) <= 0.5, `${rate1m} packets/s over a minute at ${ageMs} ms`);
    }
  });
});

Deno.test("DeviceIndex.viewAt(): an old device has its rate since the index was complete, from the first seconds on", async () => {
  await forSeeds(20, (random) => {
    const index = new DeviceIndex(60_000);
    const completeMs = start + random.int(0, 60_000);
    index.set(summary("a", 1_000_000, completeMs), 1, completeMs);
    index.sweep(1, completeMs);
    for (let ageMs = 100; ageMs <= 60_000; ageMs += 100) {
      const nowMs = completeMs + ageMs;
      index.set(summary("a", 1_000_000 + ageMs / 100, nowMs), 1, nowMs);
      const { rate1m } = index.viewAt(index.slotOf("a")!, nowMs);
      if (ageMs >= 1_000) assert(Math.abs(rate1m - 10) <= 0.5, `${rate1m} packets/s at ${ageMs} ms`);
    }
  });
});

Deno.test("DeviceIndex.viewAt(): one packet has no rate, and a burst none above its number", () => {
  assertEquals(indexOf([[start, 1]], start - 1)(start + 10).rate1m, 0);
  assertEquals(indexOf([[start, 61]], start - 1)(start + 10).rate1m, 60);
  assertEquals(indexOf([[start, 61]], start - 1)(start + 30_000).rate1m, 2);
});

Deno.test("DeviceIndex.viewAt() interval: null for one packet, the mean before the index was built, then the median of three", () => {
  const minute = 60_000;
  assertEquals(indexOf([[start, 1]], 0)(start).intervalMs, null);
  assertEquals(indexOf([[start, 1], [start + 5 * minute, 1]], 0)(start).intervalMs, 5 * minute);
  // Ten packets at once are a tenth of the time apart; a pause once in a while is not usual.
  assertEquals(indexOf([[start, 1], [start + minute, 10]], 0)(start).intervalMs, 6_000);
  const regular = Array.from({ length: 5 }, (_, i) => [start + i * minute, 1] as const);
  assertEquals(indexOf([...regular, [start + 999 * minute, 1]], 0)(start).intervalMs, minute);
  const faster = Array.from({ length: 15 }, (_, i) => [start + 4 * minute + (i + 1) * 1_000, 1] as const);
  assertEquals(indexOf([...regular, ...faster], 0)(start).intervalMs, 1_000);
  // Two packets each time it wakes are seen together or apart.
  const pairs = Array.from({ length: 20 }, (_, i) => {
    const atMs = start + i * 5 * minute;
    return i % 3 === 0 ? [[atMs + 100, 2]] as const : [[atMs, 1], [atMs + 100, 1]] as const;
  }).flat();
  for (let seen = 8; seen <= pairs.length; seen++) {
    const { intervalMs } = indexOf(pairs.slice(0, seen), 0)(start);
    assert(Math.abs(intervalMs! - 2.5 * minute) <= 200, `${intervalMs} after ${seen}`);
  }
  // Of one that sends all the time, at once and then over the last seconds.
  const fast = Array.from({ length: 200 }, (_, i) => [start + i * 100, 1] as const);
  for (const seen of [2, 10, 51, 60, 200]) {
    assertEquals(indexOf(fast.slice(0, seen), 0)(start).intervalMs, 100, `after ${seen}`);
  }

  const index = new DeviceIndex(60_000);
  const set = (count: number, lastSeenMs: number, firstSeenMs: number) => {
    index.set(summary("a", count, lastSeenMs, firstSeenMs), 1, lastSeenMs);
    return index.viewAt(index.slotOf("a")!, lastSeenMs).intervalMs;
  };
  assertEquals(set(13, start, start - 12 * minute), minute);
  index.sweep(1, start);
  assertEquals(set(14, start + 5 * minute, start - 12 * minute), minute);
  assertEquals(set(15, start + 10 * minute, start - 12 * minute), 5 * minute);
  // Read again, or counted by another program, it has sent nothing.
  assertEquals(set(15, start + 10 * minute, start - 12 * minute), 5 * minute);
  assertEquals(set(99, start + 10 * minute, start - 12 * minute), 5 * minute);
  // It was removed and came back, and another took its place.
  assertEquals(set(1, start + 11 * minute, start + 11 * minute), null);
  index.delete("a");
  index.set(summary("b", 1, start + 12 * minute, start + 12 * minute), 1, start + 12 * minute);
  assertEquals(index.viewAt(index.slotOf("b")!, start + 12 * minute).intervalMs, null);
});

Deno.test("DeviceIndex.viewAt(): interval and rates recover after the clock was set back", () => {
  const hourMs = 3_600_000, minuteMs = 60_000;
  const index = new DeviceIndex(minuteMs);
  const set = (count: number, seenMs: number, nowMs: number) =>
    index.set(summary("a", count, seenMs, start + hourMs), 1, nowMs);
  set(1, start + hourMs, start + hourMs);
  index.sweep(1, start + hourMs);
  set(2, start + hourMs + minuteMs, start + hourMs + minuteMs);
  // An hour back: what the store has is ahead until the next packet.
  set(2, start + hourMs + minuteMs, start);
  assertEquals(index.viewAt(index.slotOf("a")!, start).rate1m, 0);
  for (let packet = 1; packet <= 5; packet++) {
    const nowMs = start + packet * 10_000;
    set(2 + packet, nowMs, nowMs);
  }
  const { intervalMs, rate1m } = index.viewAt(index.slotOf("a")!, start + 50_000);
  assertEquals(intervalMs, 10_000);
  assertEquals(rate1m, 0.1);
});

Deno.test("DeviceIndex.totals() has the fleet's first packet, without devices counted only by another program", () => {
  const index = new DeviceIndex(60_000);
  assertEquals(index.totals(start).firstSeenMs, undefined);
  index.set(summary("foreign", 1, 0, 0), 1, start);
  assertEquals(index.totals(start).firstSeenMs, undefined);
  index.set(summary("a", 1, start, start - 5), 1, start);
  index.set(summary("b", 1, start, start - 9), 1, start);
  assertEquals(index.totals(start).firstSeenMs, start - 9);
});

Deno.test("DeviceIndex: a count that decreased adds no packets; one that started again adds its own", () => {
  const index = new DeviceIndex(60_000);
  index.set(summary("a", 900, start), 1, start);
  index.sweep(1, start);
  index.set(summary("a", 600, start), 2, start);
  assertEquals(index.counts().packetsEver, 900);
  assertEquals(index.viewAt(index.slotOf("a")!, start + 60_000).rate1m, 0);
  index.set({ ...summary("a", 61, start + 60_000), firstSeenMs: start + 60_000 }, 3, start + 60_000);
  assertEquals(index.viewAt(index.slotOf("a")!, start + 90_000).rate1m, 2);
  assertEquals(index.counts().packetsEver, 961);
});

Deno.test("DeviceIndex: thousands of devices stay sorted, between removals and returns too", async () => {
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

Deno.test("DeviceIndex: devices stay sorted, each once, for any sequence of add, remove and sweep", async () => {
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
