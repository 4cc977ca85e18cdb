/**
 * Messages that are large, compressed or incomplete: how much memory they may hold.
 */
import { gzipSync } from "node:zlib";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { defaultLimits } from "../../src/http2/limits.ts";
import { MessageMemory } from "../../src/ingest/rpc/message_memory.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { headerBlock, preface, RawConnection, requestHeaders } from "../http2/raw_connection.ts";
import { countsOf } from "../support/batches.ts";
import { framed, framedBatch, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import { CANCEL, CONTINUATION, DATA, END_STREAM, HEADERS, RST_STREAM } from "../support/http2_numbers.ts";
import { until } from "../support/until.ts";

const path = "/TelemetryIngest/StreamBatches";
const MiB = 2 ** 20;

/** A batch of some MiB. */
function largeBatch(device: string, bytes: number): Uint8Array {
  return framedBatch(
    Array.from({ length: Math.floor(bytes / 50_060) }, () => packet(device, "x".repeat(50_000))),
  );
}

Deno.test("MessageMemory.wait() is FIFO, and bounded per connection and for the process", () => {
  const memory = new MessageMemory(4 * MiB), mine = {}, others = Array.from({ length: 15 }, () => ({}));
  const resumed: string[] = [];
  for (let i = 0; i < 4; i++) assert(memory.reserve(mine, 4 * MiB));
  assertEquals(memory.reserve(mine, 1), false);
  for (const other of others) assert(memory.reserve(other, 16 * MiB));
  assertEquals([memory.bytes, memory.reserve({}, 1)], [256 * MiB, false]);
  const cancel = memory.wait(mine, 4 * MiB, () => resumed.push("cancelled"));
  memory.wait(mine, 4 * MiB, () => resumed.push("first"));
  memory.wait(mine, 4 * MiB, () => resumed.push("second"));
  assert(memory.contended);
  cancel!();
  memory.release(others[0]!, 16 * MiB);
  assertEquals(resumed, []);
  memory.release(mine, 4 * MiB);
  assertEquals(resumed, ["first"]);
  memory.release(mine, 4 * MiB);
  assertEquals([resumed, memory.contended], [["first", "second"], false]);
});

Deno.test("MessageMemory.wait() refuses the seventeenth stream of a connection", () => {
  const memory = new MessageMemory(4 * MiB), connection = {};
  memory.reserve(connection, 16 * MiB);
  const waits = Array.from({ length: 17 }, () => memory.wait(connection, 1, () => {}));
  assertEquals(waits.map((wait) => wait !== undefined), [...Array.from({ length: 16 }, () => true), false]);
});

for (const fastPath of [true, false]) {
  const by = fastPath ? "the fast path" : "grpc-js";
  Deno.test(`MessageMemory: incomplete messages of one connection hold 16 MiB, and block no other connection: ${by}`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath });
    using connection = new RawConnection(ingest.port);
    const prefix = new Uint8Array([0, 0, 0x3f, 0, 0]);
    const calls = Array.from({ length: 250 }, (_, i) => 2 * i + 1)
      .flatMap((stream) => [requestHeaders(stream, path), frame(DATA, 0, stream, [...prefix, 10, 10])]);
    await connection.send(preface, ...calls);
    const ended = () =>
      connection.received.filter(({ type, flags }) =>
        type === RST_STREAM || type === HEADERS && (flags & END_STREAM) !== 0
      );
    // 4 have memory; on the fast path 16 wait for it.
    const refused = fastPath ? 230 : 246;
    await until(
      () => new Set(ended().map(({ stream }) => stream)).size === refused,
      "the others are refused",
    );
    await using other = new RawCall(ingest.port, "StreamBatches");
    const { code, ack } = await other.finish(largeBatch("sensor-1", 3 * MiB));
    assertEquals([code, ack?.stored], [status.OK, 62]);
    // Memory is returned with the calls.
    for (let stream = 1; stream < 500; stream += 2) {
      await connection.send(frame(RST_STREAM, 0, stream, [0, 0, 0, CANCEL]));
    }
    await until(() => ingest.counters.openStreams === 0, "all are over");
    await connection.send(requestHeaders(501, path), frame(DATA, 0, 501, [...prefix, 10]));
    await until(() => ingest.counters.openStreams === 1, "there is room again");
  });
}

Deno.test("MessageMemory: large messages of many streams on one connection are all read, in turns", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using first = new RawCall(ingest.port, "StreamBatches");
  const calls = Array.from({ length: 12 }, () => new RawCall(ingest.port, "StreamBatches", {}, first));
  const batch = largeBatch("sensor-1", 3.9 * MiB);
  const ends = await Promise.all(calls.map((call) => call.finish(batch, batch)));
  assertEquals(ends.map(({ code }) => code), calls.map(() => status.OK));
  const total = ends.reduce((sum, { ack }) => sum + ack!.stored, 0);
  assertEquals(await countsOf(store), { "sensor-1": total });
});

Deno.test("Inflater: messages that inflate a thousandfold are inflated one at a time", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using first = new RawCall(ingest.port, "StreamBatches");
  // Equal packets: 4 MiB in some 10 KiB.
  const packets = Array.from({ length: 50_000 }, () => packet("sensor-1", "x".repeat(50), 1_700_000_000));
  const message = gzipSync(streamBatches.requestSerialize({ packets }));
  assert(message.length < 60_000);
  const bomb = framed(new Uint8Array(message), true);
  const before = Deno.memoryUsage().rss;
  let peak = 0;
  const sampling = setInterval(() => peak = Math.max(peak, Deno.memoryUsage().rss), 5);
  const calls = Array.from(
    { length: 20 },
    () => new RawCall(ingest.port, "StreamBatches", { "grpc-encoding": "gzip" }, first),
  );
  const ends = await Promise.all(calls.map((call) => call.finish(bomb, bomb)));
  clearInterval(sampling);
  assertEquals(ends.map(({ ack }) => ack?.stored), calls.map(() => 100_000));
  assertEquals(await countsOf(store), { "sensor-1": 20 * 100_000 });
  // All at once would be 160 MiB and more.
  assert(peak - before < 150 * MiB, `${(peak - before) / MiB} MiB`);
});

Deno.test("Inflater: compressed messages keep their order among others, and among streams of a connection", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, queueMaxPackets: 100 });
  const message = (payload: string, count: number, compress: boolean) => {
    const packets = Array.from({ length: count }, () => packet("sensor-1", payload, 1_700_000_000));
    const bytes = streamBatches.requestSerialize({ packets });
    return framed(new Uint8Array(compress ? gzipSync(bytes) : bytes), compress);
  };
  await using call = new RawCall(ingest.port, "StreamBatches", { "grpc-encoding": "gzip" });
  const sizes = [1, 5000, 3, 1, 9000, 2];
  const { code, ack } = await call.finish(
    ...sizes.map((count, i) => message(`payload-${i}`, count, i % 2 === 1)),
    message("last", 1, true),
  );
  assertEquals([code, ack?.stored], [status.OK, sizes.reduce((sum, size) => sum + size, 1)]);
  assertEquals(new TextDecoder().decode((await store.device("sensor-1"))!.payload), "last");
});

const slow = { ...defaultLimits, keepaliveTickMs: 50 };

for (
  const [what, frames] of [
    ["sends nothing", []],
    ["sends half a preface", [preface.subarray(0, 10)]],
    ["sends half a frame", [preface, requestHeaders(1, path).subarray(0, 20)]],
    ["sends half a header block", [preface, frame(HEADERS, 0, 1, headerBlock(path))]],
    ["sends an empty part of a header block now and then", [
      preface,
      frame(HEADERS, 0, 1, headerBlock(path)),
      frame(CONTINUATION, 0, 1),
    ]],
    ["sends half a DATA frame", [
      preface,
      requestHeaders(1, path),
      frame(DATA, 0, 1, new Uint8Array(100)).subarray(0, 50),
    ]],
  ] as const
) {
  Deno.test(`StallDetector: a connection that ${what}, and continues too slowly, is closed`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, limits: slow });
    using connection = new RawConnection(ingest.port);
    await connection.send(...frames);
    await connection.closed;
    assertEquals(ingest.counters.http2.connectionsCut, 1);
  });
}

for (const fastPath of [true, false]) {
  const by = fastPath ? "the fast path" : "grpc-js";
  Deno.test(`StallDetector: a call that sends half a message, and continues too slowly, is reset alone: ${by}`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({
      store,
      fastPath,
      limits: { ...slow, ticksBeforePing: 1e9, ticksBeforeClose: 1e9 },
    });
    await using idle = new RawCall(ingest.port, "StreamBatches");
    await idle.send(framedBatch([packet()]));
    await until(() => ingest.counters.stored === 1, "an idle stream");
    const half = new RawCall(ingest.port, "StreamBatches", {}, idle);
    await half.send(new Uint8Array([0, 0, 0, 4, 0, 10, 10]));
    const { code } = await half.end;
    assertEquals(code, fastPath ? status.UNAVAILABLE : -1);
    assertEquals(ingest.counters.openStreams, 1);
    assertEquals((await idle.finish(framedBatch([packet()]))).ack?.stored, 2);
  });
}

Deno.test("StallDetector: a compressed message that arrives byte by byte ends its call", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, limits: { ...slow, ticksBeforeClose: 1e9 } });
  await using call = new RawCall(ingest.port, "StreamBatches", { "grpc-encoding": "gzip" });
  await call.send(new Uint8Array([1, 0, 0, 4, 0]));
  const timer = setInterval(() => void call.send(new Uint8Array(1)), 10);
  const { code, details } = await call.end;
  clearInterval(timer);
  assertEquals([code, details.includes("of a message arrived in ten seconds")], [status.UNAVAILABLE, true]);
  assertEquals(ingest.counters.openStreams, 0);
});
