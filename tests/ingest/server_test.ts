import { connect, type Socket } from "node:net";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertRejects } from "@std/assert";

import { preface, RawConnection, requestHeaders } from "../http2/raw_connection.ts";
import { countsOf } from "../support/batches.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import { ACK, DATA, GOAWAY, PING, RST_STREAM } from "../support/http2_numbers.ts";
import { until } from "../support/until.ts";

/** Sends `bytes` to the port and resolves when the server has closed the connection, to what it sent. */
function exchange(port: number, bytes: string | Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve) => {
    const socket: Socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const chunks: Uint8Array[] = [];
    socket.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    socket.on("end", () => socket.end());
    socket.on("error", () => {});
    socket.on("close", () => resolve(new Uint8Array(Buffer.concat(chunks))));
  });
}

for (
  const [what, bytes] of [
    ["An HTTP/1 request", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    [
      "A TLS ClientHello",
      new Uint8Array([0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, ...new Array(194).fill(7)]),
    ],
    ["Random bytes", new Uint8Array(200).map((_, i) => (i * 37 + 11) & 255)],
    ["An HTTP/2 preface and then garbage", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\xff".repeat(100)],
  ] as const
) {
  Deno.test(`${what} on the gRPC port: that connection is closed, the others continue`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store });
    await using call = new RawCall(ingest.port);
    await call.send(framedPacket(packet()));
    await exchange(ingest.port, bytes);
    const end = await call.finish(framedPacket(packet()));
    assertEquals([end.code, end.ack?.stored], [status.OK, 2]);
    assertEquals(await countsOf(store), { "sensor-1": 2 });
  });
}

const ping = frame(PING, 0, 0, [8, 7, 6, 5, 4, 3, 2, 1]);

/** Sends `bytes` and a PING; resolves when the server has read all, or has closed the connection. */
async function sendAndPing(port: number, bytes: Uint8Array): Promise<void> {
  using connection = new RawConnection(port);
  let closed = false;
  connection.closed.then(() => closed = true);
  await connection.send(bytes, ping);
  await until(
    () => closed || connection.received.some(({ type }) => type === PING),
    "the server has read all",
  );
}

const lastFrames: [string, Uint8Array][] = [
  ["RST_STREAM", frame(RST_STREAM, 0, 1, [0, 0, 0, 8])],
  ["a GOAWAY for an error", frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 2])],
  ["an acknowledgement of no PING", frame(PING, ACK, 0, [1, 2, 3, 4, 5, 6, 7, 8])],
  ["data for a call that is not open", frame(DATA, 0, 99, [1])],
];

for (const fastPath of [true, false]) {
  for (const [what, last] of lastFrames) {
    Deno.test({
      name: `Calls followed by ${what} do not affect others (${fastPath ? "fast path" : "grpc-js"})`,
      // grpc-js's keepalive timer outlives, by 30 s at the most, a session that ends before it was set up.
      sanitizeOps: false,
      sanitizeResources: false,
      async fn() {
        await using store = await temporaryStore();
        await using ingest = await startTestIngest({ store, fastPath });
        for (const path of ["/TelemetryIngest/StreamPackets", "/grpc.health.v1.Health/Watch", "/no/such"]) {
          const calls = [preface, requestHeaders(1, path), last, requestHeaders(3, path), last];
          await sendAndPing(ingest.port, Buffer.concat(calls));
          await using call = new RawCall(ingest.port);
          assertEquals((await call.finish(framedPacket(packet()))).ack?.stored, 1);
        }
        assertEquals(await countsOf(store), { "sensor-1": 3 });
      },
    });
  }
}

Deno.test("TelemetryServer closes the connection of a device that half-closes its socket", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  await connection.send(preface, requestHeaders(1, "/TelemetryIngest/StreamBatches"));
  await until(() => ingest.counters.openStreams === 1, "the call is open");
  connection.finish();
  // Within ten seconds, which is sooner than the keepalive would notice.
  await until(() => ingest.counters.openStreams === 0, "the call is over");
  await connection.closed;
});

Deno.test("TelemetryServer drain does not wait for a connection without data", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const silent = connect(ingest.port, "127.0.0.1");
  const closed = new Promise((resolve) => silent.once("close", resolve));
  await new Promise((resolve) => silent.once("connect", resolve));
  silent.on("error", () => {});
  silent.resume();
  assert(await ingest.drain());
  await closed;
});

Deno.test("TelemetryServer names a port in use in its error", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await assertRejects(
    () => startTestIngest({ store, port: ingest.port }),
    Error,
    `could not listen on 127.0.0.1:${ingest.port}`,
  );
});

Deno.test("TelemetryServer: two servers with reusePort share a port, and both get devices", async () => {
  await using store = await temporaryStore();
  await using first = await startTestIngest({ store, reusePort: true });
  await using second = await startTestIngest({ store, reusePort: true, port: first.port });
  // The system picks by a hash of the ports: 64 of 64 on one side would be a miracle.
  for (let i = 0; i < 64; i++) {
    await using call = new RawCall(first.port);
    assertEquals((await call.finish(framedPacket(packet()))).code, status.OK);
  }
  assertEquals(await countsOf(store), { "sensor-1": 64 });
  assert(first.counters.stored > 0 && second.counters.stored > 0);
  assertEquals(first.counters.stored + second.counters.stored, 64);
});
