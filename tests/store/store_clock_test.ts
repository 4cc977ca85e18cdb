/**
 * The clock that all processes of a store share.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import { startLogging, stopLogging } from "../../src/runtime/log.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreClock } from "../../src/store/store_clock.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { framedPacket, packet, RawCall, startTestIngest } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

/** The true time, the machine's clock and a store's, each of which may be wrong. */
class Clocks {
  monotonicMs = 5_000;
  machineWrongMs = 0;
  storeWrongMs = 0;
  roundTripMs = 2;
  failure: Error | undefined;

  constructor(readonly hasOwnClock: boolean) {}

  get trueMs(): number {
    return 1_800_000_000_000 + this.monotonicMs;
  }

  trimmedTo: number[] = [];
  readonly store: Pick<Store, "status" | "trimFleetHistory"> = {
    trimFleetHistory: (untilMs) => {
      this.trimmedTo.push(untilMs);
      return Promise.resolve();
    },
    status: () => {
      if (this.failure) return Promise.reject(this.failure);
      this.monotonicMs += this.roundTripMs / 2;
      const clockMs = this.hasOwnClock ? Math.floor(this.trueMs + this.storeWrongMs) : undefined;
      this.monotonicMs += this.roundTripMs / 2;
      return Promise.resolve({ clockMs, evictionPolicy: "allkeys-lru", countsLateMs: 7 });
    },
  };

  readonly machine: Clock = {
    unixMs: () => this.trueMs + this.machineWrongMs,
    monotonicMs: () => this.monotonicMs,
  };

  open(): StoreClock {
    return new StoreClock({
      store: this.store,
      clock: this.machine,
      log: getLogger("tally"),
    });
  }

  /** Measures each second; resolves to the greatest error seen. */
  async run(clock: StoreClock, seconds: number): Promise<number> {
    let worstMs = 0;
    for (let i = 0; i < seconds; i++) {
      this.monotonicMs += 1000;
      worstMs = Math.max(worstMs, Math.abs(clock.unixMs() - this.trueMs));
      await clock.measure();
      worstMs = Math.max(worstMs, Math.abs(clock.unixMs() - this.trueMs));
    }
    return worstMs;
  }
}

Deno.test("StoreClock.unixMs() is the store's time, for any time of the machine's clock", async () => {
  const clocks = new Clocks(true);
  clocks.machineWrongMs = -2 * 24 * 3_600_000;
  const clock = clocks.open();
  await clock.measure();
  assert(await clocks.run(clock, 5) <= 5);
  assertEquals(clock.health, {
    clockAheadMs: -2 * 24 * 3_600_000,
    evictionPolicy: "allkeys-lru",
    countsLateMs: 7,
  });
  clocks.machineWrongMs = 3_600_000;
  assert(await clocks.run(clock, 5) <= 5);
  assertEquals(clock.health.clockAheadMs, 3_600_000);
  clocks.roundTripMs = 700;
  assert(await clocks.run(clock, 5) <= 360);
});

for (const hasOwnClock of [true, false]) {
  const whose = hasOwnClock ? "the store's own clock" : "the machine's clock, which is SQLite's,";
  for (const wrongMs of [-2 * 24 * 3_600_000, 3_600_000, -90_000]) {
    Deno.test(`StoreClock.unixMs() does not follow ${whose} when it jumps by ${wrongMs} ms for three seconds`, async () => {
      const clocks = new Clocks(hasOwnClock);
      const clock = clocks.open();
      await clock.measure();
      await clocks.run(clock, 3);
      clocks.storeWrongMs = clocks.machineWrongMs = wrongMs;
      assert(await clocks.run(clock, 3) <= 5);
      clocks.storeWrongMs = clocks.machineWrongMs = 0;
      assert(await clocks.run(clock, 30) <= 5);
    });

    Deno.test(`StoreClock.unixMs() follows ${whose} within a minute when a jump by ${wrongMs} ms lasts`, async () => {
      const clocks = new Clocks(hasOwnClock);
      const clock = clocks.open();
      await clock.measure();
      await clocks.run(clock, 3);
      clocks.storeWrongMs = clocks.machineWrongMs = wrongMs;
      await clocks.run(clock, 59);
      assert(Math.abs(clock.unixMs() - clocks.trueMs - wrongMs) <= 5);
      assertEquals(clock.health.clockAheadMs, 0);
      assertEquals(clocks.trimmedTo.length, wrongMs < 0 ? 1 : 0);
    });
  }
}

Deno.test("StoreClock.unixMs() advances while the store does not respond, and is the store's time afterwards", async () => {
  const clocks = new Clocks(true);
  clocks.machineWrongMs = 90_000;
  clocks.failure = new StoreError("away");
  const clock = clocks.open();
  await clock.measure();
  assertEquals(clock.unixMs(), clocks.trueMs + 90_000);
  clocks.failure = undefined;
  assert(await clocks.run(clock, 1) > 5); // before it has answered
  assert(await clocks.run(clock, 1) <= 5);
  clocks.failure = new StoreError("away");
  clocks.machineWrongMs = -3_600_000;
  assert(await clocks.run(clock, 600) <= 5);
});

Deno.test("StoreClock logs once that the clocks differ, and once that they agree", async () => {
  const lines: string[] = [];
  const clocks = new Clocks(true);
  const log = startLogging({
    level: "info",
    format: "json",
    write: (line) => lines.push(JSON.parse(line).message),
  });
  try {
    const clock = new StoreClock({
      store: clocks.store,
      clock: clocks.machine,
      log,
    });
    await clocks.run(clock, 3);
    clocks.machineWrongMs = 90_000;
    await clocks.run(clock, 30);
    clocks.machineWrongMs = 0;
    await clocks.run(clock, 30);
  } finally {
    stopLogging();
  }
  assertEquals(lines.length, 2, lines.join("\n"));
  assert(/90\d{3} ms ahead of the store's/.test(lines[0]!.replace(/[^\d a-z']/g, "")), lines[0]);
});

Deno.test("Ingest and api with clocks 90 s apart: no device is offline, and valid timestamps are accepted", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  try {
    const open = (wrongMs: number) =>
      new StoreClock({
        store,
        clock: { ...systemClock, unixMs: () => Date.now() + wrongMs },
        log: getLogger("tally"),
      });
    const ingestClock = open(-90_000), apiClock = open(0);
    await Promise.all([ingestClock.measure(), apiClock.measure()]);
    await using ingest = await startTestIngest({
      store,
      now: () => ingestClock.unixMs(),
      clockAheadMs: () => ingestClock.health.clockAheadMs,
      maxClockAheadMs: 1_000,
    });
    await using api = await startTestApi(store, {
      offlineAfterMs: 60_000,
      watchIntervalMs: 10,
      clock: apiClock,
    });
    const call = new RawCall(ingest.port);
    assertEquals((await call.finish(framedPacket(packet("a")))).ack?.rejected, 0);
    await until(async () => (await (await fetch(`${api.url}/devices`)).json()).total === 1, "it is read");
    const { devices } = await (await fetch(`${api.url}/devices`)).json();
    assertEquals(devices[0].status, "online");
    assert(Math.abs(devices[0].last_seen_ms - Date.now()) < 30_000);
    assertEquals(await store.events(0, 10), []);
    await until(
      async () => (await (await fetch(`${api.url}/fleet`)).json()).instances[0]?.clock_ahead_ms === -90_000,
      "the difference is shown",
    );
    const metrics = await (await fetch(`${api.url}/metrics`, { headers: { accept: "text/plain" } })).text();
    assert(/tally_ingest_clock_ahead_seconds\{ingest="[^"]*"\} -90\n/.test(metrics), metrics);
  } finally {
    await store.close();
  }
});
