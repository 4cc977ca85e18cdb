import { assertEquals, assertRejects } from "@std/assert";

import type { ShareOwner } from "../../src/ingest/batch/batch.ts";
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketQueue } from "../../src/ingest/batch/queue.ts";
import { retryBackoff, Writer } from "../../src/ingest/batch/writer.ts";
import { createCounters } from "../../src/ingest/counters.ts";
import { Backoff } from "../../src/runtime/backoff.ts";
import type { Batch } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { ingestDefaults } from "../support/harness.ts";

const owner: ShareOwner = {
  claim: { session: "s", epoch: 1 },
  settle: () => {},
  discard: () => {},
  fence: () => {},
};

/** Runs a writer over batches, each of which the store fails to apply so many times; returns its waits. */
async function waitsAfter(failures: readonly number[]) {
  const queue = new PacketQueue({
    maxPackets: 1,
    maxBytes: 1,
    maxDevices: 1,
    dueDevices: 1,
    flushIntervalMs: 1,
  }, new DeviceTable({ maxDevices: 1 }));
  const waits: number[] = [], applied: number[] = [];
  let left = failures[0]!;
  // A real store cannot fail a given number of times.
  const store = {
    apply: ({ sequence }: Batch) => {
      if (left-- > 0) return Promise.reject(new StoreError("the test refuses it"));
      applied.push(sequence);
      left = failures[sequence] ?? 0;
      return Promise.resolve([]);
    },
  } as unknown as Store;
  const backoff = new Backoff({
    ...retryBackoff().options,
    random: () => 0,
    timer: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
  });
  const counters = createCounters();
  const writer = new Writer({
    queue,
    store,
    counters,
    producer: "p",
    now: () => 0,
    log: ingestDefaults.log,
    signal: new AbortController().signal,
    backoff,
  });
  const running = writer.run();
  for (let index = 0; index < failures.length; index++) {
    const share = queue.tail.share(owner, index);
    share.to = index + 1;
    queue.commit(1, 1);
    if (index === failures.length - 1) queue.close();
    else await new Promise<void>((resolve) => queue.waitForRoom(resolve));
  }
  await running;
  return { waits, applied, counters };
}

Deno.test("Writer waits longer after each failure, up to a second, and starts again when a batch is applied", async () => {
  const { waits, applied, counters } = await waitsAfter([8, 2]);
  assertEquals(waits, [25, 50, 100, 200, 400, 800, 1000, 1000, 25, 50]);
  assertEquals(applied, [1, 2]);
  assertEquals([counters.failedFlushes, counters.flushes], [10, 2]);
});

Deno.test("Writer.run() rejects with an error that is not the store's, instead of retrying", async () => {
  const queue = new PacketQueue({
    maxPackets: 1,
    maxBytes: 1,
    maxDevices: 1,
    dueDevices: 1,
    flushIntervalMs: 1,
  }, new DeviceTable({ maxDevices: 1 }));
  let attempts = 0;
  const writer = new Writer({
    queue,
    store: { apply: () => Promise.reject(new TypeError(`bug ${++attempts}`)) } as unknown as Store,
    counters: createCounters(),
    producer: "p",
    now: () => 0,
    log: ingestDefaults.log,
    signal: new AbortController().signal,
  });
  queue.tail.share(owner, 0).to = 1;
  queue.commit(1, 1);
  await assertRejects(() => writer.run(), TypeError, "bug 1");
});
