/**
 * What any peer may cost a connection, and what is kept for it.
 */
import { createServer, type Socket } from "node:net";
import { type Duplex, Writable } from "node:stream";

import { assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";

import { AbuseBudget } from "../../src/http2/abuse_budget.ts";
import { Http2Connection } from "../../src/http2/connection.ts";
import { FrameWriter } from "../../src/http2/frame_writer.ts";
import { Http2Error } from "../../src/http2/frames.ts";
import { defaultLimits } from "../../src/http2/limits.ts";
import { countsOf } from "../support/batches.ts";
import { framedBatch, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import {
  ACK,
  CANCEL,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  GOAWAY,
  HEADERS,
  PADDED,
  PING,
  PRIORITY,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { forSeeds } from "../support/random.ts";
import { until } from "../support/until.ts";
import { connectionOptions } from "./connection_options.ts";
import { headerBlock, preface, RawConnection, requestHeaders, uint32 } from "./raw_connection.ts";

const path = "/TelemetryIngest/StreamBatches";

const codesOf = (connection: RawConnection) => connection.all(GOAWAY).map(({ payload }) => payload[7]);

Deno.test("maxConcurrentStreams: calls above it are refused with REFUSED_STREAM, and may be retried", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const serverSettings = () => connection.all(SETTINGS)[0];
  await connection.send(preface);
  await until(() => serverSettings() !== undefined, "the server has sent its limits");
  assertEquals([...serverSettings()!.payload.subarray(0, 6)], [0, 3, ...uint32(1000)]);
  // Some of them are grpc-js's.
  const pathOf = (i: number) => i % 10 === 0 ? "/grpc.health.v1.Health/Watch" : path;
  const calls = Array.from({ length: 1002 }, (_, i) => requestHeaders(2 * i + 1, pathOf(i)));
  await connection.send(...calls);
  await until(() => connection.all(RST_STREAM).length === 2, "two are refused");
  assertEquals(
    connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]),
    [[2001, REFUSED_STREAM], [2003, REFUSED_STREAM]],
  );
  await connection.send(frame(RST_STREAM, 0, 1, uint32(CANCEL)), frame(RST_STREAM, 0, 3, uint32(CANCEL)));
  await connection.send(requestHeaders(2005, path), requestHeaders(2007, path));
  await until(() => ingest.counters.openStreams === 901, "there is room for two");
  assertEquals([ingest.counters.http2.callsRefused, ingest.counters.http2.connectionsCut], [2, 0]);
});

/** Opens `count` calls from stream `first` on, each followed by what `after` returns. */
function callsAnd(first: number, count: number, after: (stream: number) => Uint8Array): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => first + 2 * i)
    .flatMap((stream) => [requestHeaders(stream, path), after(stream)]);
}

const cancel = (stream: number) => frame(RST_STREAM, 0, stream, uint32(CANCEL));

/** Budgets that do not refill: how fast the machine is does not matter. */
const withoutRefill = { ...defaultLimits, resetsPerSecond: 0, controlFramesPerSecond: 0 };

Deno.test("resetBurst: too many cancelled calls lead to refused calls, then GOAWAY; open calls continue", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, limits: withoutRefill });
  using connection = new RawConnection(ingest.port);
  const resets = () => connection.all(RST_STREAM).map(({ payload }) => payload[3]);
  await connection.send(preface, requestHeaders(1, path));
  await connection.send(...callsAnd(3, 1000, cancel));
  await until(() => ingest.counters.streams === 1001 && ingest.counters.openStreams === 1, "they are over");
  assertEquals([resets(), codesOf(connection)], [[], []]);
  // Behind a proxy, the call that is open is another device's.
  await connection.send(...callsAnd(2003, 1000, cancel));
  await until(() => resets().length > 800, "new calls are refused");
  assertEquals([new Set(resets()), codesOf(connection)], [new Set([ENHANCE_YOUR_CALM]), []]);
  await connection.send(...callsAnd(4003, 1000, cancel));
  await until(() => codesOf(connection).length > 0, "GOAWAY is sent");
  assertEquals([codesOf(connection), ingest.counters.openStreams], [[ENHANCE_YOUR_CALM], 1]);
  await connection.send(frame(DATA, END_STREAM, 1, framedBatch([packet()])));
  await connection.closed;
  assertEquals(connection.all(HEADERS, 1).length, 2);
  assertEquals(await countsOf(store), { "sensor-1": 1 });
});

Deno.test("refusalsBeforeGoAway: too many calls after GOAWAY close the connection", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, limits: withoutRefill });
  using connection = new RawConnection(ingest.port);
  await connection.send(preface, requestHeaders(1, path), ...callsAnd(3, 3000, cancel));
  await until(() => codesOf(connection).length > 0, "GOAWAY is sent");
  await connection.send(...callsAnd(6003, 1100, cancel));
  await connection.closed;
  assertEquals([codesOf(connection), ingest.counters.http2.connectionsCut], [[
    ENHANCE_YOUR_CALM,
    ENHANCE_YOUR_CALM,
  ], 1]);
});

for (
  const [what, headers, provocation] of [
    [
      "content-length above the DATA sent",
      { "content-length": "1" },
      (stream: number) => frame(DATA, END_STREAM, stream),
    ],
    ["WINDOW_UPDATE of 0", {}, (stream: number) => frame(WINDOW_UPDATE, 0, stream, uint32(0))],
    [
      "WINDOW_UPDATE above the maximum",
      {},
      (stream: number) => frame(WINDOW_UPDATE, 0, stream, uint32(2 ** 31 - 1)),
    ],
    ["HEADERS in the middle", {}, (stream: number) => requestHeaders(stream, path)],
    [
      "PRIORITY dependent on its own stream",
      {},
      (stream: number) => frame(PRIORITY, 0, stream, [...uint32(stream), 1]),
    ],
    ["DATA after END_STREAM", {}, (stream: number) =>
      new Uint8Array(Buffer.concat([
        frame(DATA, END_STREAM, stream, framedBatch([packet()])),
        frame(DATA, 0, stream, framedBatch([packet()])),
      ]))],
  ] as const
) {
  Deno.test(`resetBurst: resets that a device causes count as its own, and few claim a session: ${what}`, async () => {
    await using real = await temporaryStore();
    let claims = 0;
    const store = new Proxy(real, {
      get(target, property) {
        const value = Reflect.get(target, property);
        if (property === "claimSession") claims++;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    await using ingest = await startTestIngest({ store, limits: withoutRefill });
    using connection = new RawConnection(ingest.port);
    const calls = Array.from({ length: 1100 }, (_, i) => 2 * i + 1).flatMap((stream) => [
      requestHeaders(stream, path, { "telemetry-session": `s-${stream}`, ...headers }),
      provocation(stream),
    ]);
    await connection.send(preface, ...calls);
    const { http2 } = ingest.counters;
    await until(
      () => http2.streamsReset >= 1000 && http2.streamsReset + http2.callsRefused === 1100,
      "all are over",
    );
    assertEquals([http2.connectionsCut, ingest.counters.openStreams], [0, 0]);
    // Where a chunk ends between the two, the call lives until the next one comes.
    assertLessOrEqual(claims, 200);
    const counted = Object.values(await countsOf(real)).reduce((sum, packets) => sum + packets, 0);
    // A call that is complete before it is followed by DATA may be served.
    assertLessOrEqual(counted, what === "DATA after END_STREAM" ? claims : 0);
  });
}

for (
  const [what, flood] of [
    ["empty SETTINGS", () => frame(SETTINGS, 0, 0)],
    [
      "SETTINGS that change the windows of all calls",
      (i: number) => frame(SETTINGS, 0, 0, [0, 4, ...uint32(i)]),
    ],
    ["acknowledgments of SETTINGS", () => frame(SETTINGS, ACK, 0)],
    ["PING", () => frame(PING, 0, 0, new Uint8Array(8))],
    ["acknowledgments of PING", () => frame(PING, ACK, 0, new Uint8Array(8))],
    ["PRIORITY", () => frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])],
    ["WINDOW_UPDATE of the connection", () => frame(WINDOW_UPDATE, 0, 0, uint32(1))],
    ["WINDOW_UPDATE of a call", () => frame(WINDOW_UPDATE, 0, 1, uint32(1))],
    ["RST_STREAM of a call that is over", () => frame(RST_STREAM, 0, 3, uint32(CANCEL))],
    ["GOAWAY", () => frame(GOAWAY, 0, 0, [...uint32(0), ...uint32(0)])],
    ["frames of an unknown type", () => frame(99, 0, 0)],
    ["empty DATA", () => frame(DATA, 0, 1)],
    ["DATA of padding alone", () => frame(DATA, PADDED, 1, [3, 0, 0, 0])],
    ["DATA of a byte", () => frame(DATA, 0, 1, [0])],
  ] as const
) {
  Deno.test(`controlFrameBurst: a flood of ${what} ends the connection, and no other`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, limits: withoutRefill });
    await using other = new RawCall(ingest.port, "StreamBatches");
    await other.send(framedBatch([packet()]));
    await until(() => ingest.counters.stored === 1, "the other call is served");
    using connection = new RawConnection(ingest.port);
    await connection.send(preface, requestHeaders(1, path), requestHeaders(3, path), cancel(3));
    // As many as took the process down once, in one write.
    await connection.sendAll(Array.from({ length: 140_000 }, (_, i) => flood(i)));
    await connection.closed;
    assertEquals(codesOf(connection), [ENHANCE_YOUR_CALM]);
    assertEquals(ingest.counters.http2.connectionsCut, 1);
    assertEquals((await other.finish(framedBatch([packet()]))).ack?.stored, 2);
  });
}

Deno.test("AbuseBudget.dataSent() allows WINDOW_UPDATE and PING for each Ack", async () => {
  await using store = await temporaryStore();
  const limits = { ...defaultLimits, controlFrameBurst: 50, controlFramesPerSecond: 0 };
  await using ingest = await startTestIngest({ store, limits, flushIntervalMs: 1 });
  using connection = new RawConnection(ingest.port);
  await connection.send(preface, requestHeaders(1, path));
  for (let i = 1; i <= 100; i++) {
    await connection.send(frame(DATA, 0, 1, framedBatch([packet()])));
    await until(() => connection.all(DATA, 1).length >= i, "an Ack");
    const { length } = connection.all(DATA, 1).at(-1)!.payload;
    await connection.send(
      frame(WINDOW_UPDATE, 0, 0, uint32(length)),
      frame(WINDOW_UPDATE, 0, 1, uint32(length)),
      frame(PING, 0, 0, new Uint8Array(8)),
    );
  }
  assertEquals(codesOf(connection), []);
});

Deno.test("AbuseBudget allows what a proxy sends at once for 1,000 devices: after an Ack, and when they vanish", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, limits: withoutRefill });
  using connection = new RawConnection(ingest.port);
  await connection.send(preface);
  const credit = (stream: number) => frame(WINDOW_UPDATE, 0, stream, uint32(1));
  const calls = Array.from({ length: 1000 }, (_, i) => 2 * i + 1);
  await connection.sendAll(calls.map((stream) => requestHeaders(stream, path)));
  for (let acks = 1; acks <= 3; acks++) {
    await connection.sendAll(calls.map((stream) => frame(DATA, 0, stream, framedBatch([packet()]))));
    await until(() => connection.all(DATA).length === acks * calls.length, "each device has its Ack");
    await connection.sendAll(calls.flatMap((stream) => [credit(stream), credit(0)]));
  }
  // As HAProxy does: it half-closes the calls of devices that vanish, and resets them when they have ended.
  await connection.sendAll(calls.map((stream) => frame(DATA, END_STREAM, stream)));
  await until(() => ingest.counters.openStreams === 0, "the calls have ended");
  await connection.sendAll(calls.flatMap((stream) => [credit(stream), credit(0), cancel(stream)]));
  await connection.send(requestHeaders(2001, path), frame(DATA, END_STREAM, 2001, framedBatch([packet()])));
  await until(
    () => connection.all(HEADERS, 2001).length === 2 || codesOf(connection).length > 0,
    "a response",
  );
  assertEquals([codesOf(connection), await countsOf(store)], [[], { "sensor-1": 3001 }]);
});

Deno.test("maxSettingsEntries: a SETTINGS frame with more ends the connection", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const entries = Array.from({ length: 2730 }, (_, i) => [0, 4, ...uint32(i)]).flat();
  await connection.send(preface, frame(SETTINGS, 0, 0, entries));
  await connection.closed;
  assertEquals(codesOf(connection), [ENHANCE_YOUR_CALM]);
});

Deno.test("PeerSettings.read() applies the last value of a SETTINGS frame, also to open calls", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const window = (bytes: number) => [0, 4, ...uint32(bytes)];
  await connection.send(
    preface,
    requestHeaders(1, path),
    frame(SETTINGS, 0, 0, [...window(9), ...window(1)]),
  );
  await connection.send(frame(DATA, 0, 1, framedBatch([packet()])));
  await until(() => connection.all(DATA, 1).length === 1, "the Ack begins");
  assertEquals(connection.all(DATA, 1)[0]!.payload.length, 1);
  await connection.send(frame(SETTINGS, 0, 0, [...window(7), ...window(65_535)]), frame(DATA, END_STREAM, 1));
  await until(() => connection.all(HEADERS, 1).length === 2, "the call has ended");
});

Deno.test("maxHeaderListBytes ends the call; maxHeaderBlockBytes ends the connection", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const large = Object.fromEntries(Array.from({ length: 3 }, (_, i) => [`x-${i}`, "y".repeat(6000)]));
  const block = headerBlock(path, large);
  await connection.send(
    preface,
    frame(HEADERS, 0, 1, block.slice(0, 10_000)),
    frame(CONTINUATION, END_HEADERS, 1, block.slice(10_000)),
    requestHeaders(3, path, { "x-0": "y".repeat(6000) }),
  );
  await until(() => ingest.counters.openStreams === 1, "the second call is open");
  await until(() => connection.all(RST_STREAM).length > 0, "the first call is over");
  assertEquals(
    connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]),
    [[1, ENHANCE_YOUR_CALM]],
  );
  await connection.send(frame(HEADERS, 0, 5, headerBlock(path)));
  for (let i = 0; i < 3; i++) await connection.send(frame(CONTINUATION, 0, 5, new Uint8Array(16_000)));
  await connection.closed;
  assertEquals(codesOf(connection), [ENHANCE_YOUR_CALM]);
  assertEquals([ingest.counters.http2.callsRefused, ingest.counters.http2.connectionsCut], [1, 1]);
});

for (
  const [what, makeFrame] of [
    ["PINGs", () => frame(PING, 0, 0, new Uint8Array(8))],
    ["calls that are refused", (i: number) => requestHeaders(2 * i + 3, path, { "telemetry-session": "" })],
  ] as const
) {
  Deno.test(`maxUnreadBytes: a device that sends ${what} and does not read the replies is disconnected`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store });
    using connection = new RawConnection(ingest.port);
    await connection.send(preface, requestHeaders(1, path));
    await until(() => ingest.counters.openStreams === 1, "the call is open");
    connection.read(false);
    let sent = 0;
    // Some MB fit into the system's own buffers.
    await until(async () => {
      const frames = Array.from({ length: 1000 }, () => makeFrame(sent++));
      await Promise.race([connection.send(...frames), connection.closed]);
      return ingest.counters.openStreams === 0;
    }, "the call is over");
    assertEquals(ingest.counters.http2.connectionsCut, 1);
    connection.read(true);
    await connection.closed;
  });
}

Deno.test("Http2Connection.keepaliveTick() sends a PING to an idle connection, and then closes it", async () => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  using device = new RawConnection((server.address() as { port: number }).port);
  const socket = await accepted.promise;
  const options = connectionOptions(), { counters } = options;
  const connection = new Http2Connection(socket, options);
  const pings = () => device.all(PING).length;
  await device.send(preface);
  await until(() => device.all(SETTINGS).some(({ flags }) => flags === ACK), "the server has read all");
  for (let i = 0; i < 4; i++) connection.keepaliveTick();
  await until(() => pings() === 1, "a PING is sent");
  await device.send(frame(PING, ACK, 0, device.all(PING)[0]!.payload), frame(PING, 0, 0, new Uint8Array(8)));
  await until(() => pings() === 2, "the server has read the answer");
  for (let i = 0; i < 4; i++) connection.keepaliveTick();
  await until(() => pings() === 3, "another PING is sent");
  assertEquals([socket.destroyed, counters.connectionsCut], [false, 0]);
  connection.keepaliveTick();
  assertEquals([socket.destroyed, counters.connectionsCut], [true, 1]);
  await device.closed;
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("Http2Connection: random frames disturb no other connection, and leave nothing in memory", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using other = new RawConnection(ingest.port);
  await other.send(preface, requestHeaders(1, path));
  const paths = [path, "/TelemetryIngest/StreamPackets", "/grpc.health.v1.Health/Watch", "/no/such"];
  await forSeeds(150, async (random) => {
    using connection = new RawConnection(ingest.port);
    const frames = Array.from({ length: random.int(1, 40) }, () => {
      const stream = random.int(0, 6), payload = random.bytes(random.int(0, 30));
      return random.pick([
        () => requestHeaders(2 * stream + 1, random.pick(paths)),
        () => frame(DATA, random.pick([0, END_STREAM]), stream, payload),
        () => frame(RST_STREAM, 0, stream, uint32(CANCEL)),
        () => frame(WINDOW_UPDATE, 0, stream, uint32(random.int(0, 1000))),
        () => frame(SETTINGS, 0, 0, [0, random.int(0, 7), ...uint32(random.int(0, 20_000))]),
        () => frame(random.int(0, 11), random.int(0, 255), stream, payload),
      ])();
    });
    const bytes = Buffer.concat([preface, ...frames]);
    if (random.chance(0.3)) bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    await connection.send(bytes);
    if (random.chance(0.5)) connection.finish();
  });
  await other.send(frame(DATA, END_STREAM, 1, new Uint8Array(0)));
  await until(() => other.all(HEADERS, 1).length === 2, "the other call has ended");
  await until(() => ingest.counters.openStreams === 0, "no call is open any more");
});

Deno.test("Http2Connection closes a peer that neither reads GOAWAY nor closes", async () => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // Deno's own connections stay half-open, which those of node:net do not.
  using peer = await Deno.connect({ port: (server.address() as { port: number }).port });
  const socket = await accepted.promise;
  const closed = new Promise((resolve) => socket.once("close", resolve));
  new Http2Connection(socket, connectionOptions({ limits: { ...defaultLimits, lingerMs: 50 } }));
  await peer.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  await closed;
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("FrameWriter.finish() writes frames sent before, and none sent after", async () => {
  const written: number[] = [];
  const socket = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      written.push(...chunk);
      done();
    },
  }) as unknown as Duplex;
  const writer = new FrameWriter(socket, { limits: defaultLimits, peerNotReading() {} });
  writer.send(new Uint8Array([1]));
  writer.finish();
  writer.send(new Uint8Array([2]));
  writer.pumpSoon();
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(written, [1]);
});

Deno.test("AbuseBudget.controlFrame() allows a burst and its refill, however long the process has run", () => {
  let nowMs = 3_600_000;
  const limits = { ...defaultLimits, controlFrameBurst: 100, controlFramesPerSecond: 10 };
  const budget = new AbuseBudget({ limits, now: () => nowMs });
  for (let i = 0; i < 100; i++) budget.controlFrame();
  assertThrows(() => budget.controlFrame(), Http2Error);
  nowMs += 1000;
  for (let i = 0; i < 9; i++) budget.controlFrame();
  assertThrows(() => budget.controlFrame(), Http2Error);
});
