/**
 * Calls that grpc-js serves, on connections that carry telemetry too.
 */
import { gunzipSync, gzipSync } from "node:zlib";

import { status } from "@grpc/grpc-js";
import { assertEquals } from "@std/assert";

import {
  countsOf,
  framed,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../harness.ts";
import { streamBatches as batches, streamPackets } from "../../src/telemetry_proto.ts";
import { forSeeds } from "../random.ts";
import { until } from "../until.ts";
import { gated } from "./gated_store.ts";
import {
  DATA,
  END_STREAM,
  frame,
  HEADERS,
  preface,
  RawConnection,
  requestHeaders,
  SETTINGS,
  uint32,
  WINDOW_UPDATE,
} from "./raw_connection.ts";

const gzip = { "grpc-encoding": "gzip" };

/** A packet, compressed and framed. */
function compressed(deviceId: string, payload: string): Uint8Array {
  const message = streamPackets.requestSerialize(packet(deviceId, payload));
  const bytes = gzipSync(message);
  if (gunzipSync(bytes).length !== message.length) throw new Error("gzip does not do what it should");
  return framed(new Uint8Array(bytes), true);
}

Deno.test("Compressed and plain calls share a connection, in any order and all at once", async () => {
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

Deno.test("A health check on a device's connection is answered between its Acks", async () => {
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

Deno.test("Compressed calls carry many times what may be under way, and wait for room", async () => {
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

Deno.test("What grpc-js answers keeps to the device's windows", async () => {
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

Deno.test("A drain ends a connection that carried both kinds of calls", async () => {
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

/** A batch of one packet. */
function streamBatches(index: number): Uint8Array {
  return batches.requestSerialize({ packets: [packet("sensor-1", String(index))] });
}
