/**
 * The part of the stores' contract about reports of ingest processes.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import { INSTANCE_EXPIRY_MS } from "../../src/store/instances.ts";
import { now } from "../support/batches.ts";
import { instanceReport } from "../support/instance_report.ts";
import type { TestStores } from "./parts.ts";

/** Registers the tests of reports. */
export function testInstances(test: TestStores): void {
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
    await other.removeInstance("missing");
    assertEquals((await store.instances(gone)).map(({ instance }) => instance), ["b"]);
  });
}
