import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { gated } from "../ingest/gated_store.ts";
import { countsOf } from "../support/batches.ts";
import {
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import {
  CANCEL,
  COMPRESSION_ERROR,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  GOAWAY,
  HEADERS,
  NO_ERROR,
  PADDED,
  PING,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { forSeeds, type Random } from "../support/random.ts";
import { until } from "../support/until.ts";
import { headerBlock, preface, RawConnection, requestHeaders, uint32 } from "./raw_connection.ts";

const path = "/TelemetryIngest/StreamPackets";

/** `bytes` cut where chance has it. */
function cut(random: Random, bytes: Uint8Array, maxLength: number): Uint8Array[] {
  const parts = [];
  for (let at = 0; at < bytes.length;) parts.push(bytes.subarray(at, at += random.int(0, maxLength)));
  return parts;
}

/** A DATA frame, sometimes with padding. */
function dataFrame(random: Random, stream: number, data: Uint8Array): Uint8Array {
  if (random.chance(0.7)) return frame(DATA, 0, stream, data);
  const padding = random.int(0, 20);
  return frame(DATA, PADDED, stream, [padding, ...data, ...new Uint8Array(padding)]);
}

/** Frames of several streams, each stream's in order. */
function shuffled(random: Random, streams: Uint8Array[][]): Uint8Array[] {
  const frames = [];
  for (let open = streams; (open = open.filter((left) => left.length > 0)).length > 0;) {
    frames.push(random.pick(open).shift()!);
  }
  return frames;
}

Deno.test("Http2Connection reads calls the same for any split into frames and chunks", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const sent: Record<string, number> = {};
  await forSeeds(12, async (random) => {
    using connection = new RawConnection(ingest.port);
    const ids = [1, 3, 5, 7];
    const streams = ids.map((id) => {
      const device = `sensor-${random.int(1, 5)}`;
      const messages = Array.from(
        { length: random.int(0, 12) },
        () => framedPacket(packet(device, "x".repeat(random.int(0, 200)))),
      );
      sent[device] = (sent[device] ?? 0) + messages.length;
      const frames = cut(random, Buffer.concat(messages), 300).map((data) => dataFrame(random, id, data));
      const last = frames.pop();
      // The end comes with the last bytes, or after them.
      if (last !== undefined && random.chance(0.5)) {
        last[4]! |= END_STREAM;
        return [requestHeaders(id, path), ...frames, last];
      }
      const end = frame(DATA, END_STREAM, id);
      return [requestHeaders(id, path), ...frames, ...last === undefined ? [] : [last], end];
    });
    // New streams have rising numbers, so the first is opened first.
    const opened = streams.map(([headers]) => headers!);
    const between = Array.from(
      { length: 5 },
      () => random.pick([frame(PING, 0, 0, new Uint8Array(8)), frame(0xfa, 0, 0, [1, 2, 3])]),
    );
    const rest = shuffled(random, [...streams.map(([, ...frames]) => frames), between]);
    const frames = random.chance(0.5) ? [...opened, ...rest] : streams.flat();
    for (const chunk of cut(random, Buffer.concat([preface, ...frames]), random.pick([20, 300, 5000]))) {
      await connection.send(chunk);
    }
    const ends = () =>
      connection.received.filter(({ type, flags }) => type === HEADERS && flags & END_STREAM);
    await until(() => ends().length === ids.length, "every call has ended");
    const acks = connection.received.filter(({ type, payload }) => type === DATA && payload.length > 0);
    assertEquals(acks.map(({ stream }) => stream).sort(), ids, "every call has its Ack");
  });
  for (const [device, count] of Object.entries(sent)) if (count === 0) delete sent[device];
  assertEquals(await countsOf(store), sent);
  assert(ingest.fastPath);
});

Deno.test("Http2Connection carries many times its windows", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, queueMaxPackets: 100 });
  await using first = new RawCall(ingest.port);
  await using second = new RawCall(ingest.port, "StreamBatches", {}, first);
  const large = packet("sensor-1", "x".repeat(10_000));
  const ends = await Promise.all([
    first.finish(...Array.from({ length: 300 }, () => framedPacket(large))),
    second.finish(...Array.from({ length: 100 }, () => framedBatch([large, large, large]))),
  ]);
  assertEquals(ends.map(({ code, ack }) => [code, ack?.stored]), [[status.OK, 300], [status.OK, 300]]);
  assertEquals(await countsOf(store), { "sensor-1": 600 });
});

Deno.test("Http2Connection: calls cancelled while they wait for room return the whole connection window", async () => {
  await using real = await temporaryStore();
  const { store, gate } = gated(real);
  await using ingest = await startTestIngest({ store, queueMaxPackets: 1 });
  using _opened = gate;
  await using call = new RawCall(ingest.port, "StreamBatches");
  gate.hold();
  const flood = Array.from({ length: 60 }, () => framedPacket(packet("sensor-1", "x".repeat(1000))));
  // 60 kB each: 2.4 MB in all, where 1 MiB may be under way.
  for (let i = 0; i < 40; i++) {
    const { queueFull } = ingest.counters;
    const cancelled = new RawCall(ingest.port, "StreamPackets", {}, call);
    await cancelled.send(...flood);
    await until(() => ingest.counters.queueFull > queueFull, "the stream waits");
    cancelled.cancel();
    await cancelled.end;
  }
  gate.open();
  const end = await call.finish(framedBatch([packet("sensor-2")]));
  assertEquals([end.code, end.ack?.stored], [status.OK, 1]);
});

Deno.test("Http2Connection raises the window of a stream only when it sends much", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const updates = () => connection.received.filter(({ type }) => type === WINDOW_UPDATE);
  const data = framedPacket(packet("sensor-1", "x".repeat(16_000)));
  await connection.send(preface, requestHeaders(1, path), frame(DATA, 0, 1, data));
  await until(() => ingest.counters.received === 1, "the packet arrived");
  await until(() => updates().length > 0, "the connection's window opens");
  assertEquals(updates().map(({ stream }) => stream), [0]);
  for (let i = 0; i < 2; i++) await connection.send(frame(DATA, 0, 1, data));
  await until(() => updates().length > 1, "the stream's window opens");
  const { stream, payload } = updates()[1]!;
  // All that was sent, and what 256 KiB are more than the 65,535 bytes of the beginning.
  assertEquals([stream, Buffer.from(payload).readUInt32BE()], [1, 3 * data.length + 2 ** 18 - 65_535]);
});

Deno.test("Http2Stream.write() keeps Acks until the device's windows have room, and loses none", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const noRoom = frame(SETTINGS, 0, 0, [0, 4, ...uint32(0)]);
  const ack = () => Buffer.concat(connection.all(DATA, 1).map(({ payload }) => payload));
  await connection.send(preface, noRoom, requestHeaders(1, path));
  await connection.send(frame(DATA, END_STREAM, 1, framedPacket(packet())));
  await until(() => ingest.counters.stored === 1 && connection.all(HEADERS, 1).length === 1, "it is stored");
  assertEquals([ack().length, connection.all(HEADERS, 1).length], [0, 1]);
  for (let bytes = 1; bytes <= 3; bytes++) {
    await connection.send(frame(WINDOW_UPDATE, 0, 1, uint32(1)));
    await until(() => ack().length === bytes, "a byte more");
  }
  // What a stream may be sent can be changed while it is open.
  await connection.send(frame(SETTINGS, 0, 0, [0, 4, ...uint32(1000)]));
  await until(() => connection.all(HEADERS, 1).length === 2, "the call has ended");
  assertEquals(ack().subarray(0, 5).readUInt32BE(1), ack().length - 5);
  assertEquals(streamPackets.responseDeserialize(ack().subarray(5)).stored, 1);
});

Deno.test("Http2Stream: DATA that differs from content-length ends the call, and no other", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const message = framedPacket(packet());
  const lengths = [message.length, message.length + 1, message.length - 1];
  const calls = lengths.flatMap((length, i) => [
    requestHeaders(2 * i + 1, path, { "content-length": String(length) }),
    frame(DATA, END_STREAM, 2 * i + 1, message),
  ]);
  await connection.send(preface, ...calls);
  await until(() => connection.all(HEADERS, 1).length === 2, "the first call has ended");
  assertEquals(
    connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]),
    [[3, PROTOCOL_ERROR], [5, PROTOCOL_ERROR]],
  );
});

Deno.test("Http2Stream: a call that ended early is reset when the device continues sending, and returns its window", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const data = new Uint8Array(16_000).fill(255);
  await connection.send(preface, requestHeaders(1, path), frame(DATA, 0, 1, data));
  await until(() => connection.all(RST_STREAM, 1).length === 1, "the call is reset");
  assertEquals(connection.all(RST_STREAM, 1)[0]!.payload[3], NO_ERROR);
  // 1.6 MB in all, where 1 MiB may be under way.
  for (let i = 0; i < 100; i++) await connection.send(frame(DATA, 0, 1, data));
  await connection.send(requestHeaders(3, path), frame(DATA, END_STREAM, 3, framedPacket(packet())));
  await until(() => connection.all(HEADERS, 3).length === 2, "the other call has ended");
  assertEquals(await countsOf(store), { "sensor-1": 1 });
});

for (
  const [what, code, frames] of [
    ["sends more on all its calls than the connection allows", FLOW_CONTROL_ERROR, () => {
      const data = framedPacket(packet("sensor-1", "x".repeat(16_000)));
      return Array.from({ length: 17 }, (_, i) => 2 * i + 3).flatMap((stream) => [
        requestHeaders(stream, path),
        ...Array.from({ length: 4 }, () => frame(DATA, 0, stream, data)),
      ]);
    }],
    ["sends more padding than the frame holds", PROTOCOL_ERROR, () => [frame(DATA, PADDED, 1, [3, 1, 2])]],
    ["sets PADDED in an empty frame", FRAME_SIZE_ERROR, () => [frame(DATA, PADDED, 1)]],
    ["sends a frame above the limit", FRAME_SIZE_ERROR, () => [frame(DATA, 0, 1, new Uint8Array(16_385))]],
    ["sends data of a call it has not opened", PROTOCOL_ERROR, () => [frame(DATA, 0, 3, [1])]],
    ["resets a call it has not opened", PROTOCOL_ERROR, () => [frame(RST_STREAM, 0, 3, uint32(CANCEL))]],
    ["opens a call with an even number", PROTOCOL_ERROR, () => [requestHeaders(2, path)]],
    ["interrupts a header block", PROTOCOL_ERROR, () => [
      frame(HEADERS, 0, 3, headerBlock(path)),
      frame(PING, 0, 0, new Uint8Array(8)),
    ]],
    ["sends CONTINUATION without HEADERS", PROTOCOL_ERROR, () => [frame(CONTINUATION, 0, 1, [0x83])]],
    [
      "sends a header block that is not HPACK",
      COMPRESSION_ERROR,
      () => [frame(HEADERS, END_HEADERS, 3, [0x80])],
    ],
    ["sends PUSH_PROMISE", PROTOCOL_ERROR, () => [frame(PUSH_PROMISE, END_HEADERS, 1, uint32(2))]],
    ["sends half a PING", FRAME_SIZE_ERROR, () => [frame(PING, 0, 0, [1, 2, 3, 4])]],
    ["sends half a setting", FRAME_SIZE_ERROR, () => [frame(SETTINGS, 0, 0, [0, 4, 0])]],
    ["raises a window by 0", PROTOCOL_ERROR, () => [frame(WINDOW_UPDATE, 0, 0, uint32(0))]],
    ["raises the connection's window above 2^31 - 1", FLOW_CONTROL_ERROR, () => [
      frame(WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1)),
    ]],
    ["sets a window above 2^31 - 1", FLOW_CONTROL_ERROR, () => [
      frame(SETTINGS, 0, 0, [0, 4, ...uint32(2 ** 31)]),
    ]],
  ] as const
) {
  Deno.test(`Http2Connection that ${what} is closed, and no other`, async () => {
    await using real = await temporaryStore();
    const { store, gate } = gated(real);
    await using ingest = await startTestIngest({ store, queueMaxPackets: 1 });
    using _opened = gate;
    await using other = new RawCall(ingest.port);
    gate.hold();
    await other.send(framedPacket(packet()));
    using connection = new RawConnection(ingest.port);
    await connection.send(preface, requestHeaders(1, path), ...frames());
    await connection.closed;
    const goaway = connection.received.find(({ type }) => type === GOAWAY);
    assertEquals(goaway?.payload[7], code);
    gate.open();
    assertEquals((await other.finish(framedPacket(packet()))).ack?.stored, 2);
  });
}

Deno.test("ReceiveWindow.received(): a call that exceeds its window is reset, and no other", async () => {
  await using real = await temporaryStore();
  const { store, gate } = gated(real);
  await using ingest = await startTestIngest({ store, queueMaxPackets: 1 });
  using _opened = gate;
  using connection = new RawConnection(ingest.port);
  gate.hold();
  const data = framedPacket(packet("sensor-1", "x".repeat(16_000)));
  await connection.send(preface, requestHeaders(1, path), requestHeaders(3, path));
  await connection.send(frame(DATA, 0, 3, data), ...Array.from({ length: 5 }, () => frame(DATA, 0, 1, data)));
  await until(() => connection.all(RST_STREAM).length > 0, "the call is reset");
  assertEquals(connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]), [
    [1, FLOW_CONTROL_ERROR],
  ]);
  gate.open();
  await connection.send(frame(DATA, END_STREAM, 3));
  await until(() => connection.all(HEADERS, 3).length === 2, "the other call has ended");
});
