/**
 * When the api reads the store, for whom, and who waits for it.
 *
 * @module
 */
import { assertEquals, assertLessOrEqual } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import { Snapshots } from "../../src/api/responses/metrics_snapshot.ts";
import { FleetCache, type FleetCacheOptions, MAX_AGE_MS, WARM_FOR_MS } from "../../src/fleet/fleet_cache.ts";
import type { Changes, DeviceSummary } from "../../src/store/devices.ts";
import { unmeasuredHealth } from "../../src/store/store_clock.ts";
import { FleetValues } from "../../src/fleet/fleet_values.ts";
import { TagReport } from "../../src/fleet/tag_figures.ts";
import { ListedStore } from "../support/listed_store.ts";
import { RunningClock, TestClock } from "../support/test_api.ts";
import { until } from "../support/until.ts";

/** A fleet that reads no more when the test is over. */
async function withFleet(
  options: Pick<FleetCacheOptions, "store" | "clock"> & Partial<FleetCacheOptions>,
  body: (fleet: FleetCache) => Promise<void>,
): Promise<void> {
  const fleet = new FleetCache({
    maxAgeMs: MAX_AGE_MS,
    warmForMs: WARM_FOR_MS,
    offlineAfterMs: 60_000,
    log: getLogger(["tally", "test"]),
    ...options,
  });
  try {
    await body(fleet);
  } finally {
    await fleet.close();
  }
}

/** Resolves when another fleet, which is kept warm, has read its store ten times: time enough for one that reads again. */
async function tenReads(maxAgeMs: number): Promise<void> {
  const store = new ListedStore();
  await withFleet({ store, ...new RunningClock().options, maxAgeMs }, async (fleet) => {
    await fleet.refresh({ keepWarm: true });
    await until(() => store.reads >= 10, "the other store was read ten times");
  });
}

/** Of a store in which no device has any. */
const withoutLabels = {
  labelChanges: () => Promise.resolve({ version: 1, devices: new Map() }),
  labels: () => Promise.resolve(new Map()),
  async *scanLabels() {},
};

Deno.test("FleetCache.refresh() does not wait for the store while the last read is younger than maxAgeMs", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const clock = new TestClock();
  await withFleet({ store, ...clock.options, warmForMs: 0 }, async (fleet) => {
    await fleet.refresh({ keepWarm: true });
    const gate = Promise.withResolvers<void>();
    store.gate = gate.promise;
    clock.pass(MAX_AGE_MS);
    await fleet.refresh({ keepWarm: true }); // Resolves although the store does not answer.
    await until(() => store.reads === 2, "the next read is in progress");
    await fleet.refresh({ keepWarm: true });
    store.devices = [{ deviceId: "a", count: 2 }];
    clock.pass(1);
    const late = fleet.refresh({ keepWarm: true });
    gate.resolve();
    await late;
    assertEquals([store.reads, fleet.index.totals(clock.unixMs).count], [2, 2]);
  });
});

Deno.test("FleetCache.refresh({ keepWarm }) repeats reads in the background until warmForMs after the last call", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const clock = new RunningClock();
  await withFleet({ store, ...clock.options, maxAgeMs: 20 }, async (fleet) => {
    await fleet.refresh({ keepWarm: true });
    await until(() => store.reads >= 5, "the store was read five times for one reader");
    clock.pass(WARM_FOR_MS);
    const { reads } = store;
    await tenReads(20);
    assertLessOrEqual(store.reads, reads + 1);
  });
});

Deno.test("FleetCache.close() ends the background reads", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  await withFleet(
    { store, ...new RunningClock().options, maxAgeMs: 20 },
    (fleet) => fleet.refresh({ keepWarm: true }),
  );
  const { reads } = store;
  await tenReads(20);
  assertEquals(store.reads, reads);
});

Deno.test("FleetCache.refresh() without keepWarm is not repeated in the background", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const clock = new RunningClock();
  await withFleet({ store, ...clock.options, maxAgeMs: 20 }, async (fleet) => {
    await fleet.refresh({ keepWarm: false });
    await tenReads(20);
    assertEquals(store.reads, 1);
  });
});

Deno.test("FleetCache.refresh() rejects when a background read failed and the last read is too old", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const clock = new TestClock();
  await withFleet({ store, ...clock.options, warmForMs: 0 }, async (fleet) => {
    await fleet.refresh({ keepWarm: true });
    store.failure = new Error("gone");
    clock.pass(MAX_AGE_MS);
    await fleet.refresh({ keepWarm: true });
    await until(() => fleet.storeUpForMs === 0, "the read in the background has failed");
    clock.pass(1);
    assertEquals(await fleet.refresh({ keepWarm: true }).catch((error) => error.message), "gone");
    store.failure = undefined;
    await fleet.refresh({ keepWarm: true });
  });
});

Deno.test("FleetCache.refresh() applies changes that were made during a long scan", async () => {
  const clock = new TestClock();
  const device = (deviceId: string, count: number): DeviceSummary => {
    return { deviceId, count, firstSeenMs: 1, lastSeenMs: 1, timestampMs: 1, online: true };
  };
  const requested: (number | undefined)[] = [];
  const store = {
    changes(since?: number): Promise<Changes> {
      requested.push(since);
      // Kept no longer than for one step.
      const devices = since === undefined || since < 9 + requested.length - 1
        ? "all"
        : new Map([["a", device("a", since + 1)]]);
      return Promise.resolve({ version: since === undefined ? 10 : since + 1, devices });
    },
    async *scan() {
      for (const deviceId of ["a", "b", "c"]) {
        yield await Promise.resolve([device(deviceId, 1)]);
        clock.pass(MAX_AGE_MS);
      }
    },
    summaries: () => Promise.resolve([]),
    removedPackets: () => Promise.resolve(0),
    ...withoutLabels,
  };
  await withFleet({ store, ...clock.options, warmForMs: 0 }, async (fleet) => {
    await fleet.refresh({ keepWarm: true });
    await fleet.refresh({ keepWarm: true });
    assertEquals(requested, [undefined, 10, 11, 12]);
    assertEquals(fleet.index.countAt(fleet.index.slotOf("a")!), 13);
  });
});

Deno.test("Snapshots.current() reuses a body in proportion to its build time, and never beyond MAX_AGE_MS", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const clock = new TestClock();
  await withFleet({ store, ...clock.options, warmForMs: 0 }, async (fleet) => {
    let buildingMs = 0;
    const instances = () => {
      clock.pass(buildingMs);
      return Promise.resolve([]);
    };
    const snapshots = new Snapshots({
      storeHealth: () => unmeasuredHealth,
      fleet,
      values: new FleetValues({ store: new ListedStore([]), index: fleet.index, clock: clock.options.clock }),
      tagReport: new TagReport(fleet.index, fleet.labels, clock.options.clock),
      store: { instances, waitingSamples: () => Promise.resolve({ bytes: 0, dropped: 0 }) },
      prometheusMaxDevices: 10,
      process: () => ({ startedMs: 0, cpuSeconds: 0, residentBytes: 0, eventLoopLagMs: 0 }),
      apiReport: () => ({
        connections: 0,
        maxConnections: 0,
        connectionsRefused: 0,
        connectionsCut: 0,
        tls: false,
        tlsHandshakes: 0,
        tlsHandshakesFailed: 0,
        tlsCertificateExpiresMs: 0,
        tlsReloadFailed: false,
        authFailures: {},
        anonymousAccess: false,
        logLinesDropped: 0,
      }),
      ...clock.options,
    });
    /** Whether a snapshot that was built just now is used again when newer counts are there, `afterMs` later. */
    const isUsedAfter = async (afterMs: number) => {
      clock.pass(MAX_AGE_MS + 1);
      const first = await snapshots.current();
      await first.body("prometheus", "identity");
      clock.pass(afterMs);
      const { takenAtMs } = fleet;
      await fleet.refresh({ keepWarm: false }); // Begins the next reading.
      await until(() => fleet.takenAtMs > takenAtMs, "newer counts are there");
      return await snapshots.current() === first;
    };
    assertEquals(await isUsedAfter(100), false);
    buildingMs = 40;
    assertEquals(await isUsedAfter(120), true);
    assertEquals(await isUsedAfter(130), false, "40 + 130 ms are over four times 40");
    buildingMs = 100;
    assertEquals(await isUsedAfter(MAX_AGE_MS - 100), true);
    assertEquals(await isUsedAfter(MAX_AGE_MS - 99), false);
    buildingMs = 0;
    assertEquals(await isUsedAfter(100), false);
  });
});
