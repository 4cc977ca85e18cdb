/**
 * Calls that grpc-js serves, on connections that carry telemetry too.
 */
import { type AddressInfo, createServer, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { gunzipSync, gzipSync } from "node:zlib";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { Http2Connection } from "../../src/http2/connection.ts";

import { streamBatches as batches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { gated } from "../ingest/gated_store.ts";
import { countsOf } from "../support/batches.ts";
import {
  framed,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import {
  ACK,
  CANCEL,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  INTERNAL_ERROR,
  NO_ERROR,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { forSeeds } from "../support/random.ts";
import { until } from "../support/until.ts";
import { connectionOptions } from "./connection_options.ts";
import {
  framesOf,
  preface,
  RawConnection,
  type ReceivedFrame,
  requestHeaders,
  uint32,
} from "./raw_connection.ts";

const gzip = { "grpc-encoding": "gzip" };

/** A packet, compressed and framed. */
function compressed(deviceId: string, payload: string): Uint8Array {
  const message = streamPackets.requestSerialize(packet(deviceId, payload));
  const bytes = gzipSync(message);
  if (gunzipSync(bytes).length !== message.length) throw new Error("gzip does not do what it should");
  return framed(new Uint8Array(bytes), true);
}

Deno.test("GrpcJsBridge: bridged and native calls share a connection, in any order and concurrently", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const sent: Record<string, number> = {};
  await forSeeds(8, async (random) => {
    await using first = new RawCall(ingest.port, "StreamPackets", random.chance(0.5) ? gzip : {});
    const calls = Array.from({ length: random.int(1, 8) }, () => {
      const compress = random.chance(0.5), method = "StreamPackets";
      return { compress, call: new RawCall(ingest.port, method, compress ? gzip : {}, first) };
    });
    const ends = calls.map(({ compress, call }) => {
      const device = `sensor-${random.int(1, 3)}`, packets = random.int(1, 50);
      sent[device] = (sent[device] ?? 0) + packets;
      const payload = "x".repeat(random.int(0, 5000));
      const message = () => compress ? compressed(device, payload) : framedPacket(packet(device, payload));
      return call.finish(...Array.from({ length: packets }, message)).then(({ code, ack }) => {
        assertEquals([code, ack?.stored], [status.OK, packets]);
      });
    });
    await Promise.all(ends);
  });
  assertEquals(await countsOf(store), sent);
});

Deno.test("GrpcJsBridge: a health check on a device's connection is answered between Acks", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using call = new RawCall(ingest.port, "StreamBatches");
  const question = framed(new Uint8Array(0));
  for (let i = 1; i <= 3; i++) {
    const check = new RawCall(ingest.port, "/grpc.health.v1.Health/Check", {}, call);
    assertEquals((await check.finish(question)).code, status.OK);
    await call.send(framed(streamBatches(i)));
    await until(() => call.acks.at(-1)?.stored === i, "an Ack");
  }
  assertEquals((await call.finish()).ack?.stored, 3);
});

Deno.test("GrpcJsBridge: bridged calls carry many times the windows, and wait for room", async () => {
  await using real = await temporaryStore();
  const { store, gate } = gated(real);
  await using ingest = await startTestIngest({ store, queueMaxPackets: 10 });
  using _opened = gate;
  await using plain = new RawCall(ingest.port);
  gate.hold();
  // Random bytes, which cannot be compressed: 4 × 0.6 MB, where 1 MiB may be under way.
  const random = (length: number) =>
    Array.from(crypto.getRandomValues(new Uint8Array(length)), (b) => b % 94 + 33);
  const large = String.fromCharCode(...random(20_000));
  const calls = Array.from({ length: 4 }, () => new RawCall(ingest.port, "StreamPackets", gzip, plain));
  const ends = calls.map((call) =>
    call.finish(...Array.from({ length: 30 }, () => compressed("sensor-1", large)))
  );
  await until(() => ingest.counters.queueFull > 0, "they wait");
  gate.open();
  assertEquals((await Promise.all(ends)).map(({ ack }) => ack?.stored), [30, 30, 30, 30]);
  assertEquals((await plain.finish(framedPacket(packet()))).ack?.stored, 1);
});

Deno.test("GrpcJsBridge: responses of grpc-js keep to the device's windows", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  using connection = new RawConnection(ingest.port);
  const answer = () => Buffer.concat(connection.all(DATA, 1).map(({ payload }) => payload));
  await connection.send(
    preface,
    frame(SETTINGS, 0, 0, [0, 4, ...uint32(0)]),
    requestHeaders(1, "/grpc.health.v1.Health/Check"),
    frame(DATA, END_STREAM, 1, framed(new Uint8Array(0))),
  );
  await until(() => connection.all(HEADERS, 1).length === 1, "the answer begins");
  assertEquals(answer().length, 0);
  await connection.send(frame(WINDOW_UPDATE, 0, 1, uint32(100)));
  await until(() => connection.all(HEADERS, 1).length === 2, "the call has ended");
  assertEquals([...answer()], [0, 0, 0, 0, 2, 8, 1]);
});

Deno.test("Http2Connection.goAway() ends a connection that carried bridged and native calls", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using plain = new RawCall(ingest.port, "StreamBatches");
  const packed = new RawCall(ingest.port, "StreamPackets", gzip, plain);
  await plain.send(framed(streamBatches(1)));
  await packed.send(compressed("sensor-2", "abc"));
  await until(() => ingest.counters.stored === 2, "both are stored");
  assertEquals(await ingest.drain(), true);
  assertEquals([(await plain.end).code, (await packed.end).code], [status.UNAVAILABLE, status.UNAVAILABLE]);
});

/** A connection whose calls all go to a grpc-js that is played by the test, which writes its frames. */
class PlayedGrpcJs implements AsyncDisposable {
  /** The frames that it received, in order. */
  readonly received: ReceivedFrame[] = [];
  /** The beginning of a frame whose rest is still to come. */
  #partial: Buffer = Buffer.alloc(0);

  private constructor(readonly device: RawConnection, readonly server: Server, readonly socket: Duplex) {
    socket.on("data", (chunk: Buffer) => {
      const { frames, rest } = framesOf(Buffer.concat([this.#partial, chunk]));
      this.received.push(...frames);
      this.#partial = rest;
    });
  }

  /** Opens a connection and `calls` calls. */
  static async start(calls: number): Promise<PlayedGrpcJs> {
    const injected = Promise.withResolvers<Duplex>();
    const server = createServer((socket) =>
      new Http2Connection(socket, connectionOptions({ inject: injected.resolve }))
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const device = new RawConnection((server.address() as AddressInfo).port);
    await device.send(preface, ...Array.from({ length: calls }, (_, i) => requestHeaders(2 * i + 1, "/x")));
    const socket = await injected.promise;
    const first = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
    assertEquals(first.toString(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    return new PlayedGrpcJs(device, server, socket);
  }

  all(type: number): ReceivedFrame[] {
    return this.received.filter((frame) => frame.type === type);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.device[Symbol.dispose]();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

Deno.test("GrpcJsBridge sends no more DATA than grpc-js's windows allow, and returns credit for what grpc-js consumed", async () => {
  await using played = await PlayedGrpcJs.start(20);
  const { device, socket } = played;
  const opened = () =>
    device.all(WINDOW_UPDATE, 0).reduce((sum, { payload }) => sum + Buffer.from(payload).readUInt32BE(), 0);
  const greeting = opened();
  // Small and large frames, 1 MB: what a device may have under way.
  const data = Array.from({ length: 20 }, (_, i) => [
    ...Array.from({ length: 10 }, () => frame(DATA, 0, 2 * i + 1, new Uint8Array(30))),
    ...Array.from({ length: 5 }, () => frame(DATA, 0, 2 * i + 1, new Uint8Array(10_000))),
    frame(DATA, END_STREAM, 2 * i + 1),
  ]).flat();
  await device.send(...data, frame(PING, 0, 0, new Uint8Array(8)));
  await until(() => device.all(PING).length > 0, "all is there");
  const given = () => played.all(DATA).reduce((sum, { payload }) => sum + payload.length, 0);
  for (let read = 0; read < 20 * 50_300;) {
    await until(() => given() > read, "there is more");
    const unread = given() - read;
    assert(unread <= 65_535);
    read += unread;
    socket.write(frame(WINDOW_UPDATE, 0, 0, uint32(unread)));
  }
  await until(() => played.all(DATA).filter(({ flags }) => flags === END_STREAM).length === 20, "the ends");
  await until(() => opened() > greeting, "the device may send more");
});

Deno.test("GrpcJsBridge.returnCredit(): credit for DATA that was sent, and for no more", async () => {
  await using played = await PlayedGrpcJs.start(1);
  const { device, socket } = played;
  await device.send(frame(SETTINGS, 0, 0, [0, 4, ...uint32(600)]), frame(PING, 0, 0, new Uint8Array(8)));
  await until(() => device.all(PING).length === 1, "the window is set");
  socket.write(frame(DATA, 0, 1, new Uint8Array(1000)));
  await until(() => device.all(DATA).length === 1, "the first part is there");
  assertEquals([device.all(DATA)[0]!.payload.length, played.all(WINDOW_UPDATE).length], [600, 0]);
  await device.send(frame(WINDOW_UPDATE, 0, 1, uint32(400)));
  await until(() => played.all(WINDOW_UPDATE).length === 2, "the credit is there");
  assertEquals(played.all(WINDOW_UPDATE).map(({ stream, payload }) => [stream, [...payload]]), [
    [0, uint32(1000)],
    [1, uint32(1000)],
  ]);
});

Deno.test("GrpcJsBridge.returnCredit(): credit for DATA that a cancelled call did not send", async () => {
  await using played = await PlayedGrpcJs.start(1);
  const { device, socket } = played;
  await device.send(frame(SETTINGS, 0, 0, [0, 4, ...uint32(0)]));
  socket.write(frame(DATA, 0, 1, new Uint8Array(1000)));
  await device.send(frame(RST_STREAM, 0, 1, uint32(CANCEL)));
  await until(() => played.all(WINDOW_UPDATE).length === 1, "the credit is there");
  assertEquals(played.all(WINDOW_UPDATE).map(({ stream, payload }) => [stream, [...payload]]), [
    [0, uint32(1000)],
  ]);
  assertEquals(played.all(RST_STREAM).map(({ payload }) => [...payload]), [uint32(CANCEL)]);
});

Deno.test("GrpcJsBridge: a failed session of grpc-js ends its own calls only", async () => {
  await using played = await PlayedGrpcJs.start(1);
  const { device, socket } = played;
  socket.destroy();
  await until(() => device.all(RST_STREAM).length === 1, "its call is reset");
  assertEquals(device.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]), [[
    1,
    INTERNAL_ERROR,
  ]]);
  await device.send(frame(PING, 0, 0, new Uint8Array(8)));
  await until(() => device.all(PING).length === 1, "the connection goes on");
});

Deno.test("GrpcJsBridge: SETTINGS, PING and GOAWAY of grpc-js are not forwarded to the device", async () => {
  await using played = await PlayedGrpcJs.start(1);
  const { device, socket, received } = played;
  const before = device.received.length;
  const ping = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  // In pieces, as a stream may be.
  const sent = Buffer.concat([
    frame(SETTINGS, 0, 0, [0, 3, ...uint32(5)]),
    frame(PING, 0, 0, ping),
    frame(GOAWAY, 0, 0, [...uint32(1), ...uint32(NO_ERROR)]),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, [0x88]),
  ]);
  for (let at = 0; at < sent.length; at += 7) socket.write(sent.subarray(at, at + 7));
  await until(() => device.all(HEADERS).length === 1, "the answer is there");
  assertEquals(device.received.slice(before).map(({ type }) => type), [HEADERS]);
  assertEquals(received.filter(({ flags }) => flags === ACK).map(({ type }) => type).slice(-2), [
    SETTINGS,
    PING,
  ]);
  await device.send(frame(DATA, END_STREAM, 1), frame(PING, 0, 0, ping));
  await until(() => device.all(PING).length === 1, "all is there");
  assertEquals(played.all(RST_STREAM).length, 0);
});

/** A batch of one packet. */
function streamBatches(index: number): Uint8Array {
  return batches.requestSerialize({ packets: [packet("sensor-1", String(index))] });
}
