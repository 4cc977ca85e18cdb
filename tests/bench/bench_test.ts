/** The load generator says what it should, and a wrong count is told. Nothing here looks at speed. */
import { assert, assertEquals, assertGreaterOrEqual, assertMatch, assertRejects } from "@std/assert";

import type { Packet } from "../../src/protocol/messages.ts";
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { freePort } from "../support/free_port.ts";
import { startTestIngest, temporaryStore } from "../support/harness.ts";
import { until } from "../support/until.ts";
import { frame, FrameReader, headerBlock, joined, settings, windowUpdate } from "../support/http2_frames.ts";
import {
  ACK,
  CLIENT_PREFACE,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  PING,
} from "../support/http2_numbers.ts";
import { costs } from "./cost_rows.ts";
import { LoadConnection, type PacketSource } from "./load_connection.ts";
import { Ledger, LoadProcesses, usualLoad } from "./measure.ts";
import { isInstalled, Program } from "./program.ts";
import { deviceId, type PacketRing, packetRing } from "./packet_ring.ts";
import { startSubject } from "./subject.ts";
import { VICTORIA_METRICS, VictoriaMetrics } from "./victoria_metrics.ts";
import { describeFigure, quantile, sectionText, wrongs } from "./table.ts";

const packets = { rpc: "StreamPackets", packetsPerMessage: 1, packing: "message" } as const;

Deno.test("packetRing(), one message per frame: every device's packet, 44 bytes each", () => {
  const ring = packetRing({ ...packets, firstDevice: 7, devices: 3 }, 1_700_000_000_000);
  assertEquals([ring.groups, ring.framesPerGroup, ring.packetsPerGroup], [3, 1, 1]);
  const payloads = dataFrames(ring);
  assertEquals(payloads.map(({ length }) => length), [44, 44, 44]);
  assertEquals(payloads.flatMap((payload) => messages(payload).map(readPacket)), [
    [deviceId(7), 1_700_000_000_000, 16],
    [deviceId(8), 1_700_000_000_000, 16],
    [deviceId(9), 1_700_000_000_000, 16],
  ]);
});

Deno.test("packetRing(), filled frames: only frames of 16 KiB, and whole messages in each group", () => {
  const ring = packetRing({ ...packets, packing: "filled", firstDevice: 0, devices: 5000 }, Date.now());
  const payloads = dataFrames(ring);
  assert(payloads.every(({ length }) => length === 16_384));
  assertEquals(payloads.length, ring.groups * ring.framesPerGroup);
  const group = messages(joined(...payloads.slice(0, ring.framesPerGroup)));
  assertEquals(group.length, ring.packetsPerGroup);
  const ids = messages(joined(...payloads)).map((message) => readPacket(message)[0]);
  assertEquals(ids, ids.map((_, index) => deviceId(index % 5000)));
});

Deno.test("packetRing(), batches: one message per group, in the fewest frames", () => {
  const options = { rpc: "StreamBatches", packetsPerMessage: 1000, packing: "message" } as const;
  const ring = packetRing({ ...options, firstDevice: 0, devices: 2000 }, Date.now());
  assertEquals([ring.groups, ring.framesPerGroup, ring.packetsPerGroup], [2, 3, 1000]);
  const batches = messages(joined(...dataFrames(ring))).map((message) =>
    streamBatches.requestDeserialize(message as Buffer).packets
  );
  assertEquals(
    batches.flat().map(({ device_id }) => device_id),
    Array.from({ length: 2000 }, (_, i) => deviceId(i)),
  );
});

Deno.test("LoadConnection keeps to the call's windows, also when the peer reduces them", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const source = sourceOf(100);
  const opening = LoadConnection.open(listener.addr.port, "/", 1, source);
  using peer = await listener.accept();
  const connection = await opening;
  let received = 0, pongs = 0, ended = false;
  const reading = readFrames(peer, (type, flags, payload) => {
    if (type === DATA) received += payload.length;
    if (type === PING && flags & ACK) pongs++;
    if (type === DATA && flags & END_STREAM) ended = true;
  });
  const send = (...frames: Uint8Array[]) => peer.write(joined(...frames));
  const ping = async () => {
    const before = pongs;
    await send(frame(PING, 0, 0, new Uint8Array(8)));
    await until(() => pongs > before, "the ping is answered");
  };

  await send(
    settings([INITIAL_WINDOW_SIZE, 100]),
    frame(PING, ACK, 0, new Uint8Array(8)),
  );
  await connection.opened;
  source.open = true;
  connection.wake();
  await until(() => received === 88, "what fits has come");
  await ping();
  assertEquals(received, 88);
  await send(windowUpdate(1, 44));
  await until(() => received === 132, "what fits now has come");
  await ping();
  assertEquals(received, 132);
  await send(windowUpdate(1, 100_000));
  await until(() => ended, "the stream ends");
  assertEquals(received, 4400);

  await send(
    frame(HEADERS, END_HEADERS | END_STREAM, 1, headerBlock({ "grpc-status": "0" })),
  );
  await connection.done;
  assertEquals(connection.streams[0]!.outcome, { failure: "grpc-status 0 without an Ack" });
  connection.close();
  await reading;
});

Deno.test("LoadConnection reports the cause of a call that does not end with OK", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const connection = await LoadConnection.open(ingest.port, "/TelemetryIngest/Nonsense", 1, sourceOf(1));
  await connection.done;
  const { outcome } = connection.streams[0]!;
  assert(outcome !== undefined && "failure" in outcome);
  assertMatch(outcome.failure, /^grpc-status 12: .*Nonsense/);
  connection.close();
});

Deno.test("bench rows are exact for both RPCs and packings, several streams, and a concurrent load", async () => {
  await using processes = new LoadProcesses();
  const shapes = [
    { connections: 2, streamsPerConnection: 3 },
    { packing: "filled", framesPerWrite: 4, streamsPerConnection: 2 },
    { rpc: "StreamBatches", packetsPerMessage: 100, framesPerWrite: 3 },
    { packetsPerSecond: 1_000_000, framesPerWrite: 1 },
  ] as const;
  for (const shape of shapes) {
    await using subject = await startSubject("tally-redis", 1);
    const ledger = new Ledger(subject, processes, 2);
    for (let run = 0; run < 2; run++) {
      const { packets } = await ledger.load({
        ...usualLoad,
        devices: 20_000,
        durationMs: 0,
        minPackets: 3000,
        ...shape,
      });
      assertGreaterOrEqual(packets, 3000);
    }
    assertEquals(ledger.wrong, undefined);
  }
});

Deno.test("bench reports a row whose store differs from what was sent", async () => {
  await using processes = new LoadProcesses();
  await using subject = await startSubject("tally-sqlite", 1);
  const ledger = new Ledger(subject, processes, 1), other = new Ledger(subject, processes, 1);
  const few = { ...usualLoad, connections: 1, framesPerWrite: 1, durationMs: 0, minPackets: 100 };
  const { packets } = await ledger.load(few);
  assertEquals(ledger.wrong, undefined);
  const unknown = await other.load(few);
  const holds = `the store holds ${packets + unknown.packets} packets`;
  assert(other.wrong?.startsWith(holds), other.wrong);

  const row = {
    name: "few",
    figures: { rate: { values: [1], unit: "packets/s", wrong: other.wrong } },
  } as const;
  const section = { title: "Title", about: "", rows: [row] };
  assertMatch(sectionText(section), /few +WRONG\n/);
  assertEquals(wrongs(section), [`few: ${other.wrong}`]);
});

Deno.test("Program.start() resolves when the command listens, and rejects when it ends before", async () => {
  const port = freePort();
  {
    const listen = `Deno.serve({ port: ${port}, hostname: "127.0.0.1" }, () => new Response())`;
    await using program = await Program.start(`deno eval '${listen}'`, port);
    assertEquals(await (await fetch(`http://127.0.0.1:${port}`)).text(), "");
    assert(program.pid > 0);
  }
  await assertRejects(() => Program.start("false", port), Error, "false: ended at its start");
});

const hasVictoriaMetrics = await isInstalled(VICTORIA_METRICS);

Deno.test({
  name: "VictoriaMetrics.compare() finds that it does not hold what was sent",
  ignore: !hasVictoriaMetrics, // the bench leaves it out then, and says so
}, async () => {
  await using server = await VictoriaMetrics.start(50);
  await server.load(100);
  await server.load(1);
  await server.compare();
  assertEquals(server.wrong, undefined);
  const more = { method: "POST", body: `bench{device="another"} 1 ${Date.now() - 60_000}\n` };
  await (await fetch(`http://127.0.0.1:${server.port}/api/v1/import/prometheus`, more)).body?.cancel();
  await server.compare();
  assertEquals(server.wrong, "it holds 151 samples of 51 series, sent were 150 of 50");
});

Deno.test("bench states what a packet and a session cost, in figures above 0", async () => {
  await using processes = new LoadProcesses();
  const options = {
    runs: 1,
    runMs: 100,
    warmUpMs: 100,
    workers: 1,
    hasRedis: true,
    maxConnections: 100,
    processes,
    peer: undefined,
    hasVictoriaMetrics: false,
  };
  const rows = costs.rows.filter(({ name }) => /^(1,000 devices, |100,000 sessions)/.test(name));
  for (const { name, measure } of rows) {
    for (const [column, { values: [value], wrong }] of Object.entries(await measure(options))) {
      assert(
        value! > 0 && Number.isFinite(value) && wrong === undefined,
        `${name}: ${column}: ${value} ${wrong}`,
      );
    }
  }
  assertEquals(rows.length, 2);
});

Deno.test("bench --json prints one document, and fails when no row matches", async () => {
  const bench = (...args: string[]) =>
    new Deno.Command("deno", { args: ["run", "--quiet", "-P=bench", "tests/bench/bench.ts", ...args] })
      .output();
  const { code, stdout, stderr } = await bench("--json", "--quick", "--only", "streams: 1 stream");
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { machine, sections: [section] } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(machine.cores, navigator.hardwareConcurrency);
  assertEquals(section.rows.length, 1);
  assertGreaterOrEqual(section.rows[0].figures["packets/s"].median, 1);
  assertEquals((await bench("--only", "no such row")).code, 2);
});

Deno.test("bench prints a figure as its median, with minimum and maximum", () => {
  const values = [3200, 1000, 2000];
  assertEquals(describeFigure({ values, unit: "packets/s" }), "2,000 (1,000–3,200)");
  assertEquals(describeFigure({ values: [987_654, 1_234_567], unit: "packets/s" }), "1.11M (988k–1.23M)");
  assertEquals(describeFigure({ values: [12.34], unit: "ms", atLeast: true }), "≥ 12.3 ms");
  assertEquals(describeFigure({ values: [20_500, 20_500], unit: "bytes" }), "20.5 KB");
  assertEquals(describeFigure({ values: [0.0312], unit: "share" }), "3.1 %");
  assertEquals(describeFigure({ values: [7.823], unit: "µs" }), "7.82 µs");
  assertEquals(describeFigure({ values: [81.6, 86.4], unit: "bytes" }), "84 B (81.6–86.4)");
  assertEquals([0, 0.5, 0.75, 1].map((share) => quantile(values, share)), [1000, 2000, 2600, 3200]);
});

/** Sends one message per frame, `count` of them, once it is `open`. */
function sourceOf(count: number): PacketSource & { open: boolean } {
  let sent = 0;
  return {
    open: false,
    ring: packetRing({ ...packets, firstDevice: 0, devices: 1 }, Date.now()),
    framesPerWrite: 16,
    next() {
      if (!this.open) return "wait";
      return sent++ < count ? { from: 0, to: 1 } : "end";
    },
  };
}

/** Payloads of a ring's frames, which must lie where the ring says and belong to stream 1. */
function dataFrames({ bytes, frameAt }: PacketRing): Uint8Array[] {
  const payloads: Uint8Array[] = [], at = [0];
  new FrameReader().read(bytes, (type, flags, streamId, payload) => {
    assertEquals([type, flags, streamId], [DATA, 0, 1]);
    payloads.push(payload.slice());
    at.push(at.at(-1)! + 9 + payload.length);
  });
  assertEquals([...frameAt], at);
  return payloads;
}

function messages(body: Uint8Array): Uint8Array[] {
  const found = [], view = new DataView(body.buffer, body.byteOffset);
  for (let at = 0; at < body.length;) {
    assertEquals(body[at], 0);
    found.push(body.subarray(at + 5, at += 5 + view.getUint32(at + 1)));
    assert(at <= body.length);
  }
  return found;
}

function readPacket(message: Uint8Array): [string, number, number] {
  const { device_id, timestamp, payload }: Packet = streamPackets.requestDeserialize(message as Buffer);
  return [device_id, timestamp, payload.length];
}

/** Reads a client's frames, behind its preface, until it closes. */
async function readFrames(
  connection: Deno.TcpConn,
  onFrame: (type: number, flags: number, payload: Uint8Array) => void,
): Promise<void> {
  const frames = new FrameReader(), buffer = new Uint8Array(65_536);
  let preface = CLIENT_PREFACE.length;
  for (let length; (length = await connection.read(buffer)) !== null;) {
    const skipped = Math.min(preface, length);
    preface -= skipped;
    frames.read(
      buffer.subarray(skipped, length),
      (type, flags, _stream, payload) => onFrame(type, flags, payload),
    );
  }
}
