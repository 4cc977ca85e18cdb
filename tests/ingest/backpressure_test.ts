/** @module */
import { status } from "@grpc/grpc-js";
import { assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";

import { countsOf } from "../support/batches.ts";
import {
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { until } from "../support/until.ts";
import { gated } from "./gated_store.ts";

for (const fastPath of [true, false]) {
  const test = (title: string, body: () => Promise<void>) =>
    Deno.test(`${title} (${fastPath ? "fast path" : "grpc-js"})`, body);

  test("Store that hangs: at most twice the queue and a message per stream are read", async () => {
    await using real = await temporaryStore();
    const { store, gate } = gated(real);
    await using ingest = await startTestIngest({ store, fastPath, queueMaxPackets: 100 });
    using _opened = gate;
    gate.hold();
    const streams = 5, packets = 2000;
    const calls = Array.from({ length: streams }, () => new RawCall(ingest.port, "StreamBatches"));
    const message = framedBatch(Array.from({ length: 20 }, () => packet()));
    const ends = calls.map((call) => call.finish(...Array.from({ length: packets / 20 }, () => message)));
    const { counters } = ingest;
    await until(() => counters.queueFull >= streams, "every stream waits for room");
    // One batch in flight to the store and one in the queue, each with one message over the bound.
    assertLessOrEqual(counters.received, 2 * (100 + 20));
    assertEquals(counters.stored, 0);
    gate.open();
    for (const end of await Promise.all(ends)) {
      assertEquals([end.code, end.ack?.stored], [status.OK, packets]);
    }
    assertEquals(await countsOf(real), { "sensor-1": streams * packets });
  });

  for (const sameConnection of [false, true]) {
    const where = sameConnection ? "on the same connection" : "on a connection of its own";
    test(`PacketQueue.waitForRoom(): a fast stream does not starve a slow one ${where}`, async () => {
      await using real = await temporaryStore();
      const { store, gate } = gated(real);
      await using ingest = await startTestIngest({ store, fastPath, queueMaxPackets: 50 });
      using _opened = gate;
      gate.hold();
      await using fast = new RawCall(ingest.port);
      const flood = fast.finish(...Array.from({ length: 20_000 }, () => framedPacket(packet("fast"))));
      await until(() => ingest.counters.queueFull > 0, "the fast stream fills the queue");

      await using slow = new RawCall(ingest.port, "StreamBatches", {}, sameConnection ? fast : undefined);
      let before = gate.passed;
      for (let turn = 1; turn <= 5; turn++) {
        void slow.send(framedBatch([packet("slow")]));
        while (slow.acks.length < turn) {
          const { arrived } = gate;
          gate.passOne();
          await until(() => gate.arrived > arrived || slow.acks.length >= turn, "the next batch comes");
        }
        // What is in flight, in the queue, and ahead of it among the waiters; of the 400 batches of the flood.
        assertLessOrEqual(gate.passed - before, 10);
        before = gate.passed;
      }
      assertGreater(20_000, (await countsOf(real))["fast"]!);
      gate.open();
      assertEquals((await slow.finish()).ack?.stored, 5);
      assertEquals((await flood).ack?.stored, 20_000);
    });
  }
}
