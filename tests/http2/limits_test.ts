/**
 * What a stranger may ask of a connection, and what is kept for it.
 */
import { createServer, type Socket } from "node:net";

import { assertEquals } from "@std/assert";

import { IngestCounters } from "../../src/ingest/counters.ts";
import { Http2Connection } from "../../src/http2/connection.ts";
import { startTestIngest, temporaryStore } from "../harness.ts";
import { forSeeds } from "../random.ts";
import { until } from "../until.ts";
import {
  ACK,
  CANCEL,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  frame,
  GOAWAY,
  headerBlock,
  HEADERS,
  PING,
  preface,
  RawConnection,
  REFUSED_STREAM,
  requestHeaders,
  RST_STREAM,
  SETTINGS,
  uint32,
  WINDOW_UPDATE,
} from "./raw_connection.ts";

const path = "/TelemetryIngest/StreamBatches";

const codesOf = (connection: RawConnection) => connection.all(GOAWAY).map(({ payload }) => payload[7]);

Deno.test("Calls over the limit of a connection are refused, and may be tried again", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const greeting = () => connection.all(SETTINGS)[0];
  await connection.send(preface);
  await until(() => greeting() !== undefined, "the server has said its limits");
  assertEquals([...greeting()!.payload.subarray(0, 6)], [0, 3, ...uint32(1000)]);
  // Some of them are grpc-js's.
  const paths = [path, "/grpc.health.v1.Health/Watch"];
  const calls = Array.from({ length: 1002 }, (_, i) => requestHeaders(2 * i + 1, paths[i % 2]!));
  await connection.send(...calls);
  await until(() => connection.all(RST_STREAM).length === 2, "two are refused");
  assertEquals(
    connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]),
    [[2001, REFUSED_STREAM], [2003, REFUSED_STREAM]],
  );
  await connection.send(frame(RST_STREAM, 0, 1, uint32(CANCEL)), frame(RST_STREAM, 0, 3, uint32(CANCEL)));
  await connection.send(requestHeaders(2005, path), requestHeaders(2007, path));
  await until(() => ingest.counters.openStreams === 501, "there is room for two");
  assertEquals([ingest.counters.callsRefused, ingest.counters.connectionsCut], [2, 0]);
});

Deno.test("A device that opens calls and takes them back, again and again, is sent away", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const calls = Array.from(
    { length: 1001 },
    (_, i) => [requestHeaders(2 * i + 1, path), frame(RST_STREAM, 0, 2 * i + 1, uint32(CANCEL))],
  );
  await connection.send(preface, ...calls.slice(0, 1000).flat());
  await until(() => ingest.counters.streams === 1000 && ingest.counters.openStreams === 0, "all are over");
  assertEquals(codesOf(connection), []);
  await connection.send(...calls[1000]!);
  await connection.closed;
  assertEquals(codesOf(connection), [ENHANCE_YOUR_CALM]);
  assertEquals(ingest.counters.connectionsCut, 1);
});

Deno.test("Headers above 16 KiB end their call; above 32 KiB of frames, the connection", async () => {
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
  assertEquals([ingest.counters.callsRefused, ingest.counters.connectionsCut], [1, 1]);
});

for (
  const [what, question] of [
    ["PINGs", () => frame(PING, 0, 0, new Uint8Array(8))],
    ["calls that are refused", (i: number) => requestHeaders(2 * i + 3, path, { "telemetry-session": "" })],
  ] as const
) {
  Deno.test(`A device that sends ${what} and does not read the answers is cut off`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store });
    using connection = new RawConnection(ingest.port);
    await connection.send(preface, requestHeaders(1, path));
    await until(() => ingest.counters.openStreams === 1, "the call is open");
    connection.read(false);
    let asked = 0;
    // Some MB fit into the system's own buffers.
    await until(async () => {
      const questions = Array.from({ length: 1000 }, () => question(asked++));
      await Promise.race([connection.send(...questions), connection.closed]);
      return ingest.counters.openStreams === 0;
    }, "the call is over");
    assertEquals(ingest.counters.connectionsCut, 1);
    connection.read(true);
    await connection.closed;
  });
}

Deno.test("A connection without a sign of life is asked for one, and then cut off", async () => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  using device = new RawConnection((server.address() as { port: number }).port);
  const socket = await accepted.promise;
  const counters = new IngestCounters();
  const connection = new Http2Connection(socket, () => undefined, () => {}, counters);
  const pings = () => device.all(PING).length;
  await device.send(preface);
  await until(() => device.all(SETTINGS).some(({ flags }) => flags === ACK), "the server has read all");
  for (let i = 0; i < 4; i++) connection.check();
  await until(() => pings() === 1, "it is asked");
  await device.send(frame(PING, ACK, 0, device.all(PING)[0]!.payload), frame(PING, 0, 0, new Uint8Array(8)));
  await until(() => pings() === 2, "the server has read the answer");
  for (let i = 0; i < 4; i++) connection.check();
  await until(() => pings() === 3, "it is asked again");
  assertEquals([socket.destroyed, counters.connectionsCut], [false, 0]);
  connection.check();
  assertEquals([socket.destroyed, counters.connectionsCut], [true, 1]);
  await device.closed;
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("Whatever frames come, the others' calls go on, and nothing is kept", async () => {
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
