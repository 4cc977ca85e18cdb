import { status } from "@grpc/grpc-js";
import { assertEquals, assertGreater, assertMatch } from "@std/assert";

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

for (const fastPath of [true, false]) {
  const test = (title: string, body: () => Promise<void>) =>
    Deno.test(`${title} (${fastPath ? "fast path" : "grpc-js"})`, body);

  test("StreamBatches: running Acks are cumulative and cover stored packets only", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port, "StreamBatches");
    await call.send(framedBatch([packet("a"), packet("b"), packet("")]));
    await until(() => call.acks.length > 0, "the first Ack came");
    assertEquals(await countsOf(store), { a: 1, b: 1 });
    assertEquals([call.acks[0]?.stored, call.acks[0]?.rejected, call.acks[0]?.committed], [2, 1, 3]);
    const end = await call.finish(framedBatch([packet("a")]));
    assertEquals([end.code, end.ack?.stored, end.ack?.rejected, end.ack?.committed], [status.OK, 3, 1, 4]);
    assertEquals(await countsOf(store), { a: 2, b: 1 });
  });

  test("StreamBatches: a batch may be larger than the queue", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, queueMaxPackets: 10 });
    await using call = new RawCall(ingest.port, "StreamBatches");
    const batch = framedBatch(Array.from({ length: 1000 }, () => packet()));
    const end = await call.finish(batch, batch, batch);
    assertEquals([end.code, end.ack?.stored], [status.OK, 3000]);
    assertEquals(await countsOf(store), { "sensor-1": 3000 });
  });

  test("StreamBatches: a device that never reads its Acks is served, and costs one Ack of memory", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, flushIntervalMs: 1 });
    await using call = new RawCall(ingest.port, "StreamBatches");
    call.stream.pause();
    for (let i = 0; i < 200; i++) await call.send(framedBatch([packet()]));
    await until(() => ingest.counters.stored === 200, "all is stored");
    call.stream.resume();
    const end = await call.finish();
    assertEquals([end.code, end.ack?.stored], [status.OK, 200]);
  });

  test("A session's stream gets telemetry-committed, and resent packets are duplicates", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    const packets = Array.from({ length: 10 }, () => framedPacket(packet()));
    await using first = RawCall.session(ingest.port, "s1");
    assertEquals(await first.committed, "0");
    assertEquals((await first.finish(...packets.slice(0, 6))).ack?.committed, 6);
    await using again = RawCall.session(ingest.port, "s1", 2);
    assertEquals(await again.committed, "6");
    const end = await again.finish(...packets.slice(2));
    assertEquals([end.ack?.stored, end.ack?.duplicates, end.ack?.committed], [4, 4, 10]);
    await using whole = RawCall.session(ingest.port, "s1");
    const { ack } = await whole.finish(...packets);
    assertEquals([ack?.stored, ack?.duplicates, ack?.committed], [0, 10, 10]);
    assertEquals(await countsOf(store), { "sensor-1": 10 });
  });

  test("Rejected packets of a session are settled: they count in its offset", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = RawCall.session(ingest.port, "s1");
    await call.finish(framedPacket(packet("")), framedPacket(packet("")));
    await using again = RawCall.session(ingest.port, "s1", 2);
    assertEquals(await again.committed, "2");
    assertEquals((await again.finish(framedPacket(packet()))).ack?.stored, 1);
  });

  test("A session begins at the stated offset, and skips to an offset above the stored one", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using unknown = RawCall.session(ingest.port, "s1", 100);
    assertEquals(await unknown.committed, "100");
    assertEquals((await unknown.finish(framedPacket(packet()))).ack?.committed, 101);
    // The device has an Ack for 102 packets: the store went back.
    await using above = RawCall.session(ingest.port, "s1", 102);
    assertEquals(await above.committed, "102");
    assertEquals((await above.finish(framedPacket(packet()))).ack?.committed, 103);
    assertEquals(await countsOf(store), { "sensor-1": 2 });
    assertEquals([ingest.counters.sessionsReverted, ingest.counters.packetsLost], [2, 101]);
  });

  test("A newer stream of a session fences the older one, in the same process and in another", async () => {
    await using store = await temporaryStore();
    await using here = await startTestIngest({ store, fastPath });
    await using there = await startTestIngest({ store, fastPath });
    for (const other of [here, there]) {
      const session = crypto.randomUUID();
      const before = (await countsOf(store))["sensor-1"] ?? 0;
      await using old = RawCall.session(here.port, session);
      await old.send(framedPacket(packet()));
      await until(
        async () => (await countsOf(store))["sensor-1"] === before + 1,
        "the first packet is stored",
      );
      await using young = RawCall.session(other.port, session);
      assertEquals(await young.committed, "1");
      await old.send(framedPacket(packet()));
      assertEquals((await old.end).code, status.ABORTED);
      const end = await young.finish(framedPacket(packet()), framedPacket(packet()));
      assertEquals([end.code, end.ack?.stored, end.ack?.duplicates], [status.OK, 1, 1]);
      assertEquals((await countsOf(store))["sensor-1"], before + 2);
    }
    assertGreater(here.counters.fenced, 0);
  });

  test("A refused call does not fence the stream that has the session", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxStreams: 1 });
    await using owner = RawCall.session(ingest.port, "s");
    assertEquals(await owner.committed, "0");
    await using refused = RawCall.session(ingest.port, "s");
    assertEquals((await refused.end).code, status.RESOURCE_EXHAUSTED);
    const end = await owner.finish(framedPacket(packet()));
    assertEquals([end.code, end.ack?.stored], [status.OK, 1], end.details);
  });

  for (
    const [what, headers] of [
      ["an empty session", { "telemetry-session": "" }],
      ["a session of 129 characters", { "telemetry-session": "x".repeat(129) }],
      ["a session with a space", { "telemetry-session": "a b" }],
      ["an offset without a session", { "telemetry-offset": "0" }],
      ["a negative offset", { "telemetry-session": "s", "telemetry-offset": "-1" }],
      ["an offset that is no number", { "telemetry-session": "s", "telemetry-offset": "1e3" }],
      ["an offset above 2^53", { "telemetry-session": "s", "telemetry-offset": "9007199254740993" }],
    ] as [string, Record<string, string>][]
  ) {
    test(`A call with ${what} ends with INVALID_ARGUMENT`, async () => {
      await using store = await temporaryStore();
      await using ingest = await startTestIngest({ store, fastPath });
      await using call = new RawCall(ingest.port, "StreamPackets", headers);
      const end = await call.finish(framedPacket(packet()));
      assertEquals(end.code, status.INVALID_ARGUMENT);
      assertMatch(end.details, /telemetry-(session|offset)/);
      assertEquals(await countsOf(store), {});
    });
  }
}
