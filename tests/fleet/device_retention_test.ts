/** TALLY_DEVICE_TTL: an api forgets devices that have not been seen for so long. */
import { assert, assertEquals } from "@std/assert";

import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { instanceReport } from "../support/instance_report.ts";
import { addPackets, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const deviceTtlMs = 1_000;
const options = { deviceTtlMs, sweepStepMs: 20, watchIntervalMs: 20 };

/** Reports an ingest that has run for long; call it again and again, as an ingest does. */
function report(store: Store): Promise<void> {
  const nowMs = Date.now();
  return store.reportInstance(instanceReport({ startedMs: nowMs - 3_600_000, reportedMs: nowMs }));
}

Deno.test("deviceTtlMs: two apis forget 2,500 devices once, page by page, keep those that send, and count what they remove", async () => {
  await using store = await temporaryStore();
  const old = Object.fromEntries(Array.from({ length: 2_500 }, (_, i) => [`old-${i}`, 2]));
  await addPackets(store, old, { receivedAtMs: Date.now() - 60_000 });
  await addPackets(store, { quiet: 5 });
  await using ingest = await startTestIngest({ store });
  const call = new RawCall(ingest.port);
  let sent = 0;
  const timer = setInterval(() => {
    call.send(framedPacket(packet("sends")));
    sent++;
  }, 50);
  try {
    await using _one = await startTestApi(store, options);
    await using two = await startTestApi(store, options);
    await until(
      async () => Object.keys(await countsOf(store)).join() === "sends",
      "all others are forgotten",
    );
    assertEquals(await store.removedPackets(), 5_005);
    await until(async () => {
      const entries = await store.audit(undefined, 100);
      return entries.reduce((sum, { target }) => sum + parseInt(target), 0) === 2_501;
    }, "the audit log has all of them");
    const entries = await store.audit(undefined, 100);
    assert(entries.length < 10, `${entries.length} entries for two sweeps`);
    assertEquals([...new Set(entries.map(({ actor, action }) => `${actor} ${action}`))], [
      "retention device.expire",
    ]);
    const response = await fetch(`${two.url}/devices/old-1`);
    await response.body?.cancel();
    assertEquals(response.status, 404);
    // One that comes back counts from 0, and all packets ever counted remain.
    await addPackets(store, { "old-1": 1 });
    assertEquals((await store.device("old-1"))!.count, 1);
    const text = await (await fetch(`${two.url}/metrics`, { headers: { accept: "text/plain" } })).text();
    const total = Number(/^tally_packets_total (\d+)$/m.exec(text)![1]);
    assert(total >= 5_006, `${total} packets`);
  } finally {
    clearInterval(timer);
  }
  assertEquals((await call.finish()).ack!.stored, sent);
});

Deno.test("deviceTtlMs: nothing is forgotten while no ingest reports, after a gap in their reports, or soon after their start", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { old: 1 }, { receivedAtMs: Date.now() - 60_000 });
  await using _api = await startTestApi(store, options);
  const exists = async () => (await store.device("old")) !== undefined;
  // Longer than the TTL without an ingest; then an ingest that has just started.
  const endMs = performance.now() + 1.5 * deviceTtlMs;
  await until(() => performance.now() > endMs, "time passes");
  assert(await exists());
  const startedMs = Date.now();
  const young = setInterval(() => {
    store.reportInstance(
      instanceReport({ startedMs, reportedMs: Math.min(Date.now(), startedMs + deviceTtlMs / 2) }),
    );
  }, 20);
  const laterMs = performance.now() + 1.5 * deviceTtlMs;
  await until(() => performance.now() > laterMs, "time passes");
  clearInterval(young);
  assert(await exists());
  const grown = setInterval(() => report(store), 100);
  try {
    await until(async () => !await exists(), "it is forgotten once an ingest has run for long enough", 30);
  } finally {
    clearInterval(grown);
  }
});
