import { once } from "node:events";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertMatch } from "@std/assert";

import type { Packet } from "../../src/protocol/messages.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import { countsOf } from "../support/batches.ts";
import {
  framed,
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { forSeeds } from "../support/random.ts";
import { until } from "../support/until.ts";

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
    // The fast path serves compressed calls also when grpc-js serves the rest.
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

  test("A call that the device has half-closed is stored at once, whatever the flush interval", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, flushIntervalMs: 3_600_000 });
    for (const method of ["StreamPackets", "StreamBatches"]) {
      await using call = new RawCall(ingest.port, method);
      const end = await call.finish(
        method === "StreamPackets" ? framedPacket(packet()) : framedBatch([packet()]),
      );
      assertEquals(end.ack?.stored, 1);
    }
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
    // grpc-js's own reader drops the incomplete message and acknowledges the complete ones.
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
