import { once } from "node:events";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";

import { RejectReason } from "../../src/protocol/reject_reason.ts";
import type { Packet } from "../../src/protocol/telemetry_proto.ts";
import {
  countsOf,
  framed,
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { until } from "../support/until.ts";
import { forSeeds } from "../support/random.ts";

for (const fastPath of [true, false]) {
  const test = (title: string, body: () => Promise<void>) =>
    Deno.test(`${title} (${fastPath ? "fast path" : "grpc-js"})`, body);

  test("The path under test serves the calls", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    await call.finish(framedPacket(packet()));
    await using batches = new RawCall(ingest.port, "StreamBatches");
    await batches.finish(framedBatch([packet()]));
    await using compressed = new RawCall(ingest.port, "StreamPackets", { "grpc-encoding": "gzip" });
    await compressed.finish(framedPacket(packet()));
    const { fastPathStreams, grpcJsStreams } = ingest.counters;
    // What is compressed is inflated by Tally itself, whichever path serves the rest.
    assertEquals([fastPathStreams, grpcJsStreams], fastPath ? [3, 0] : [1, 2]);
    assertEquals(ingest.fastPath, fastPath);
  });

  test("A stream of a session gets telemetry-max-message in its response headers", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxMessageBytes: 12_345 });
    for (const method of ["StreamPackets", "StreamBatches"]) {
      await using call = RawCall.session(ingest.port, "s", 0, method);
      const [headers] = await once(call.stream, "response");
      assertEquals(headers["telemetry-max-message"], "12345");
      await call.finish();
    }
  });

  test("StreamPackets: ten packets are stored before they are acknowledged", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const end = await call.finish(...Array.from({ length: 10 }, () => framedPacket(packet())));
    assertEquals(await countsOf(store), { "sensor-1": 10 });
    assertEquals(end.code, status.OK, end.details);
    assertEquals(end.acks.length, 1);
    const { rejections, ...ack } = end.ack!;
    assertEquals(ack, { ok: true, stored: 10, duplicates: 0, rejected: 0, committed: 10 });
    assertEquals(rejections.length, 0);
  });

  test("StreamPackets is served also at the path of a client generated with a package", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port, "/app.telemetry.TelemetryIngest/StreamPackets");
    assertEquals((await call.finish(framedPacket(packet()))).ack?.stored, 1);
  });

  test("StreamPackets without packets gets an Ack", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    for (const method of ["StreamPackets", "StreamBatches"]) {
      await using call = new RawCall(ingest.port, method);
      const end = await call.finish();
      assertEquals([end.code, end.ack?.ok, end.ack?.stored], [status.OK, true, 0]);
    }
  });

  test("StreamPackets stores a device's greatest timestamp with the payload of that packet", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const now = Date.now();
    await call.finish(
      framedPacket(packet("a", "first", now - 5000)),
      framedPacket(packet("a", "latest", now)),
      framedPacket(packet("a", "late", now - 1000)),
    );
    const device = await store.device("a");
    assertEquals(device?.timestampMs, now);
    assertEquals(new TextDecoder().decode(device?.payload), "latest");
  });

  test("StreamPackets stores the payload received last among packets with equal timestamps", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, flushIntervalMs: 200 });
    const second = Math.floor(Date.now() / 1000);
    // In one batch: of one stream, and of streams of several sessions.
    const calls = ["s1", "s2", "s3"].map((session) => RawCall.session(ingest.port, session));
    for (const [index, call] of calls.entries()) {
      const payloads = [`first of ${index}`, `last of ${index}`];
      const { received } = ingest.counters;
      await call.send(...payloads.map((payload) => framedPacket(packet("a", payload, second))));
      await until(() => ingest.counters.received === received + 2, "both are read");
    }
    for (const call of calls) await call.finish();
    assertEquals(new TextDecoder().decode((await store.device("a"))?.payload), "last of 2");
  });

  test("A packet without a timestamp gets the time of its arrival", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, now: () => 1_763_840_000_000 });
    await using call = new RawCall(ingest.port);
    await call.finish(framedPacket(packet("a", "", 0)));
    assertEquals((await store.device("a"))?.timestampMs, 1_763_840_000_000);
  });

  test("Messages are read for any split of the stream into chunks", () =>
    forSeeds(8, async (random) => {
      await using store = await temporaryStore();
      await using ingest = await startTestIngest({ store, fastPath });
      const expected: Record<string, number> = {};
      const parts: Uint8Array[] = [];
      for (let i = 0; i < 60; i++) {
        const id = `sensor-${random.int(1, 5)}`;
        expected[id] = (expected[id] ?? 0) + 1;
        parts.push(framedPacket(packet(id, "x".repeat(random.pick([0, 3, 200, 5000])))));
      }
      parts.push(framed(new Uint8Array(0))); // a packet with no fields at all
      const bytes = Buffer.concat(parts);
      await using call = new RawCall(ingest.port);
      for (let at = 0; at < bytes.length;) {
        const length = random.pick([1, 2, 4, 5, 6, 100, 4000]);
        await call.send(bytes.subarray(at, at += length));
      }
      const { ack } = await call.finish();
      assertEquals([ack?.stored, ack?.rejected], [60, 1]);
      assertEquals(await countsOf(store), expected);
    }));

  const bad: [string, Packet, RejectReason][] = [
    ["an empty device id", packet(""), RejectReason.DEVICE_ID_EMPTY],
    ["a device id of 129 bytes", packet("x".repeat(129)), RejectReason.DEVICE_ID_TOO_LONG],
    ["a control character in the device id", packet("a\tb"), RejectReason.DEVICE_ID_CONTROL_CHARACTER],
    ["a payload over the limit", packet("a", "x".repeat(65_537)), RejectReason.PAYLOAD_TOO_LARGE],
    ["a negative timestamp", packet("a", "", -1), RejectReason.TIMESTAMP_NEGATIVE],
    [
      "a timestamp two days ahead",
      packet("a", "", Date.now() + 48 * 3_600_000),
      RejectReason.TIMESTAMP_IN_FUTURE,
    ],
    ["a timestamp of 2^53", packet("a", "", Number.MAX_SAFE_INTEGER), RejectReason.TIMESTAMP_IN_FUTURE],
  ];
  for (const [what, value, reason] of bad) {
    test(`A packet with ${what} is rejected alone, with its reason in the Ack`, async () => {
      await using store = await temporaryStore();
      await using ingest = await startTestIngest({ store, fastPath });
      await using call = new RawCall(ingest.port);
      const end = await call.finish(framedPacket(packet()), framedPacket(value), framedPacket(packet()));
      assertEquals([end.code, end.ack?.stored, end.ack?.rejected, end.ack?.committed], [status.OK, 2, 1, 3]);
      assertEquals(end.ack?.rejections.map(({ reason, packets }) => [reason, packets]), [[reason, 1]]);
      assertEquals(await countsOf(store), { "sensor-1": 2 });
      assertEquals(ingest.counters.rejected.get(reason), 1);
    });
  }

  test("A device id that is not UTF-8 is rejected alone", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const { ack } = await call.finish(framed(new Uint8Array([0x0a, 2, 0xc3, 0x28])), framedPacket(packet()));
    assertEquals(ack?.rejections[0]?.reason, RejectReason.DEVICE_ID_NOT_UTF8);
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  });

  test("A packet with the longest allowed device id and payload is stored", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const id = "é".repeat(64);
    assertEquals((await call.finish(framedPacket(packet(id, "x".repeat(65_536))))).ack?.stored, 1);
    assertEquals((await store.device(id))?.payload.length, 65_536);
  });

  test("Unknown fields of a packet are ignored", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const known = framedPacket(packet()).subarray(5);
    const unknown = new Uint8Array([0x78, 1, 0x82, 0x01, 2, 3, 4]);
    const { ack } = await call.finish(framed(new Uint8Array(Buffer.concat([unknown, known, unknown]))));
    assertEquals(ack?.stored, 1);
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  });

  for (const method of ["StreamPackets", "StreamBatches"]) {
    test(`A malformed message ends ${method} with INVALID_ARGUMENT; packets before it are stored`, async () => {
      await using store = await temporaryStore();
      await using ingest = await startTestIngest({ store, fastPath });
      await using call = new RawCall(ingest.port, method);
      const one = method === "StreamPackets" ? framedPacket(packet()) : framedBatch([packet()]);
      const end = await call.finish(one, one, framed(new Uint8Array([0x0a, 0xff, 0x01])), one);
      assertEquals(end.code, status.INVALID_ARGUMENT);
      assertMatch(end.details, /not a protobuf Packet.*ends inside a field/);
      assertEquals(end.committed, "2");
      assertEquals(end.ack?.stored, method === "StreamPackets" ? undefined : 2);
      assertEquals(await countsOf(store), { "sensor-1": 2 });
    });
  }

  test("A stream that ends inside a message gets INVALID_ARGUMENT or is closed; packets before it are stored", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const end = await call.finish(framedPacket(packet()), framedPacket(packet()).subarray(0, 9));
    // grpc-js's own reader forgets the torn message and acknowledges what was whole.
    assertEquals(end.code, fastPath ? status.INVALID_ARGUMENT : status.OK);
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  });

  test("A message above TALLY_MAX_MESSAGE ends with RESOURCE_EXHAUSTED; other streams continue", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxMessageBytes: 1000 });
    await using other = new RawCall(ingest.port);
    await other.send(framedPacket(packet("other")));
    await using call = new RawCall(ingest.port);
    await call.send(framedPacket(packet()));
    await until(() => ingest.counters.stored === 2, "both packets are stored");
    const end = await call.finish(framed(new Uint8Array(1001)));
    assertEquals(end.code, status.RESOURCE_EXHAUSTED);
    assertEquals((await other.finish(framedPacket(packet("other")))).ack?.stored, 2);
    assertEquals(await countsOf(store), { "sensor-1": 1, other: 2 });
  });

  test("A device that disconnects during a stream: its packets are stored, and nothing is left in memory", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    const call = new RawCall(ingest.port);
    await call.send(framedPacket(packet()), framedPacket(packet()).subarray(0, 7));
    await until(() => ingest.counters.received === 1, "the packet arrived");
    call.vanish();
    await until(
      () => ingest.counters.openStreams === 0 && ingest.counters.stored === 1,
      "the stream is gone",
    );
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  });

  test("A device that disconnects before its first message does not affect others", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    for (const method of ["StreamPackets", "StreamBatches"]) {
      const call = new RawCall(ingest.port, method);
      await until(() => ingest.counters.openStreams === 1, "the stream is open");
      call.vanish();
      await until(() => ingest.counters.openStreams === 0, "the stream is gone");
    }
    await using other = new RawCall(ingest.port);
    assertEquals((await other.finish(framedPacket(packet()))).ack?.stored, 1);
  });

  test("A cancelled call ends alone on its connection", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    const call = new RawCall(ingest.port);
    await call.send(framedPacket(packet()));
    call.cancel();
    assertEquals((await call.end).code, -1);
    await until(() => ingest.counters.openStreams === 0, "the stream is gone");
  });

  test("A stream above TALLY_MAX_STREAMS gets RESOURCE_EXHAUSTED", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxStreams: 1 });
    await using first = new RawCall(ingest.port);
    await first.send(framedPacket(packet()));
    await until(() => ingest.counters.openStreams === 1, "the first stream is open");
    await using second = new RawCall(ingest.port);
    assertEquals((await second.finish(framedPacket(packet()))).code, status.RESOURCE_EXHAUSTED);
    assertEquals((await first.finish()).code, status.OK);
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  });

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
    // The device was told that 102 are settled: the store went back.
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

  test("A compressed message without grpc-encoding ends the call with an error", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port);
    const end = await call.finish(framed(new Uint8Array([1, 2, 3]), true));
    assert(end.code !== status.OK);
    assertEquals(await countsOf(store), {});
  });

  test("A wrong content-type gets 415, and stores nothing", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port, "StreamPackets", { "content-type": "text/plain" });
    assert((await call.finish(framedPacket(packet()))).code !== status.OK);
    assertEquals(await countsOf(store), {});
  });

  test("An unknown method gets UNIMPLEMENTED", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    await using call = new RawCall(ingest.port, "StreamNothing");
    assertEquals((await call.finish(framedPacket(packet()))).code, status.UNIMPLEMENTED);
  });
}
