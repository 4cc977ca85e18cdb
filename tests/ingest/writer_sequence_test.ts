import { assertEquals } from "@std/assert";

import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketQueue } from "../../src/ingest/batch/queue.ts";
import { Writer } from "../../src/ingest/batch/writer.ts";
import { createCounters } from "../../src/ingest/counters.ts";
import { type Batch, PRODUCER_EXPIRY_MS } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { ingestDefaults } from "../support/harness.ts";
import { until } from "../support/until.ts";

Deno.test("Writer states the previous batch, unless the store may have dropped its record", async () => {
  const queue = new PacketQueue({
    ...{ maxPackets: 100, maxBytes: 1000, maxDevices: 100, dueDevices: 100 },
    flushIntervalMs: 1,
  }, new DeviceTable({ maxDevices: 1 }));
  const applied: Batch[] = [];
  // The real ones show nothing of a batch's sequence.
  const store = { apply: (batch: Batch) => Promise.resolve((applied.push(batch), [])) } as unknown as Store;
  const { log } = ingestDefaults;
  let nowMs = 1_700_000_000_000;
  const { signal } = new AbortController();
  const counters = createCounters();
  const writer = new Writer({
    queue,
    store,
    counters,
    producer: "p",
    now: () => nowMs,
    log,
    signal,
  });
  const done = writer.run();
  const owner = { claim: { session: "s", epoch: 1 }, settle() {}, discard() {}, fence() {} };
  const write = async (hasPackets: boolean) => {
    const flushes = counters.flushes;
    queue.tail.share(owner, 0).to = hasPackets ? 1 : 0;
    queue.commit(1, 1);
    await until(() => counters.flushes > flushes, "the batch is done with");
  };
  await write(true);
  await write(false); // has nothing for the store
  await write(true);
  nowMs += PRODUCER_EXPIRY_MS;
  await write(true);
  await write(true);
  queue.close();
  await done;
  const numbers = applied.map(({ sequence, previous }) => [sequence, previous]);
  assertEquals(numbers, [[1, 0], [3, 1], [4, 0], [5, 4]]);
});
