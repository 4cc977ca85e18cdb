/**
 * Devices whose store went back to an earlier state, or lost their session: they go on by themselves, and what
 * the store holds is exact.
 *
 * @module
 */
import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater, assertLessOrEqual, assertMatch } from "@std/assert";

import { TelemetryClient } from "../../src/client/client.ts";
import type { IngestCounters } from "../../src/ingest/counters.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import {
  framedBatch,
  framedPacket,
  ingestDefaults,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { openStore, untilStored } from "../support/redis_store.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/until.ts";

const keys = shardKeys();

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

const total = (counts: Record<string, number>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

async function redisStore(server: RedisServer): Promise<Store & AsyncDisposable> {
  const store = await openStore(server);
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** A client that reconnects quickly. */
function open({ port }: { port: number }, options: { file?: string } = {}): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, minBackoffMs: 5, maxBackoffMs: 50, ...options });
}

/** Ways in which a Redis loses data under the devices' open streams; the first call prepares, the second does it. */
const losses: Record<string, (server: RedisServer) => Promise<() => Promise<unknown>>> = {
  "after FLUSHALL": (server) => Promise.resolve(() => server.call("FLUSHALL")),
  "after a restart without persistence": (server) => Promise.resolve(() => server.restart()),
  "after an older RDB file was put back": (server) => server.snapshot(),
};

for (const [what, prepare] of Object.entries(losses)) {
  test(`Store ${what}: clients continue without help, and every packet that the store lost is reported`, async () => {
    await using server = await startRedis();
    await using store = await redisStore(server);
    await using ingest = await startTestIngest({ store });
    const clients = await Promise.all([open(ingest), open(ingest), open(ingest)]);
    const send = async (from: number, to: number) => {
      for (let index = from; index < to; index++) {
        await Promise.all(clients.map((client, i) => client.send(packet(`device-${i}`))));
        // So that it goes over several batches, and Acks are in flight at any time.
        if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
    };
    await send(0, 1000);
    await Promise.all(clients.map((client) => client.flush()));
    const lose = await prepare(server);
    await send(1000, 2000);
    await Promise.all(clients.map((client) => client.flush()));
    await Promise.all([lose(), send(2000, 4000)]);
    await send(4000, 5000);
    for (const client of clients) assertEquals((await client.close()).committed, 5000);
    const { sessionsReverted, packetsLost } = ingest.counters;
    assertGreater(sessionsReverted, 0);
    assertGreater(packetsLost, 0);
    assertEquals(total(await countsOf(store)), 3 * 5000 - packetsLost);
  });
}

test("TelemetryClient with a file continues above every offset that a restored store can have", async () => {
  await using server = await startRedis();
  const folder = await Deno.makeTempDir();
  const file = `${folder}/device.journal`;
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  const send = async (packets: number) => {
    const client = await open(ingest, { file });
    for (let index = 0; index < packets; index++) await client.send(packet());
    const { committed } = await client.close();
    return committed;
  };
  assertEquals(await send(10), 10);
  const putBack = await server.snapshot();
  assertEquals(await send(20), 30);
  await putBack();
  assertEquals(await send(5), 35);
  assertEquals(await untilStored(() => countsOf(store)), { "sensor-1": 15 });
  assertEquals(ingest.counters.packetsLost, 20);
  await server.call("FLUSHALL");
  assertEquals(await send(5), 40);
  assertEquals(await countsOf(store), { "sensor-1": 5 });
  assertEquals(ingest.counters.packetsLost, 20 + 35);
  await Deno.remove(folder, { recursive: true });
});

for (const method of ["StreamPackets", "StreamBatches"]) {
  test(`${method} ends with UNAVAILABLE and the store's offset, when that is less than before`, async () => {
    await using server = await startRedis();
    await using store = await redisStore(server);
    await using ingest = await startTestIngest({ store });
    const frames = (packets: number) =>
      method === "StreamPackets"
        ? Array.from({ length: packets }, () => framedPacket(packet()))
        : [framedBatch(Array.from({ length: packets }, () => packet()))];
    // Not when Redis has them: without its reply, they are sent again when it is back.
    const counted = (packets: number) =>
      until(() => ingest.counters.stored === packets, `${packets} packets are stored`);

    await using call = RawCall.session(ingest.port, "s", 0, method);
    await call.send(...frames(3));
    await counted(3);
    const putBack = await server.snapshot();
    await call.send(...frames(4));
    await counted(7);
    await putBack();
    assertEquals(await untilStored(() => countsOf(store)), { "sensor-1": 3 });
    await call.send(...frames(1));
    const end = await call.end;
    assertEquals([end.code, end.committed], [status.UNAVAILABLE, "3"]);
    assertMatch(end.details, /the store went back: it holds 3 packets of this session and held 7/);
    for (const { committed } of end.acks) assert([3, 7].includes(committed), `${committed}`);

    // A device that keeps what was acknowledged sends it all again; one that does not begins later.
    await using again = RawCall.session(ingest.port, "s", 3, method);
    assertEquals(await again.committed, "3");
    assertEquals((await again.finish(...frames(2))).ack?.committed, 5);
    await using forgetful = RawCall.session(ingest.port, "s", 7, method);
    assertEquals(await forgetful.committed, "7");
    assertEquals((await forgetful.finish(...frames(1))).ack?.committed, 8);
    assertEquals(await countsOf(store), { "sensor-1": 6 });
    assertEquals([ingest.counters.sessionsReverted, ingest.counters.packetsLost], [2, 2]);
  });
}

test("DeviceStream: an evicted session loses nothing, as the stream has its offset", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  await using call = RawCall.session(ingest.port, "s");
  await call.send(framedPacket(packet()), framedPacket(packet()));
  await until(() => ingest.counters.stored === 2, "two packets are stored");
  await server.call("DEL", keys.session("s"));
  await call.send(framedPacket(packet()));
  const end = await call.end;
  assertEquals([end.code, end.committed], [status.UNAVAILABLE, "2"]);
  // Also for a device without an Ack: the session is known again.
  await using again = RawCall.session(ingest.port, "s", 0);
  assertEquals(await again.committed, "2");
  const { ack } = await again.finish(framedPacket(packet()), framedPacket(packet()), framedPacket(packet()));
  assertEquals([ack?.duplicates, ack?.committed], [2, 3]);
  assertEquals(await countsOf(store), { "sensor-1": 3 });
  assertLost(ingest.counters, 0);
});

test("Reverts: the offset of an unknown session counts as lost only in a store younger than the session expiry", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  const begin = async (session: string) => {
    await using call = RawCall.session(ingest.port, session, 5);
    assertEquals((await call.finish(framedPacket(packet()))).ack?.committed, 6);
  };
  await begin("young");
  assertLost(ingest.counters, 5);
  const weekAgoMs = Date.now() - 7 * 24 * 3_600_000 - 1000;
  await server.call("SET", "tally:{device_metrics}:lineage", `${weekAgoMs} 0`);
  await begin("old");
  assertLost(ingest.counters, 5);
  // A store that has been seen to go back is as young as that.
  await using gap = RawCall.session(ingest.port, "old", 8);
  assertEquals(await gap.committed, "8");
  assertLost(ingest.counters, 7);
  assertMatch(String(await server.call("GET", "tally:{device_metrics}:lineage")), /^\d{13} \d{13}$/);
  await begin("lost");
  assertLost(ingest.counters, 12);
});

test("TALLY_ACK_AFTER=replicated: after a failover to a disconnected replica no client fails and no acknowledged packet is lost", async () => {
  const atOnce = { "repl-diskless-sync-delay": "0" };
  await using master = await startRedis(atOnce);
  await using replica = await startRedis({ ...atOnce, replicaof: `127.0.0.1 ${master.port}` });
  const toRedis = { port: master.port };
  await using redis = await TcpProxy.start(toRedis);
  const { log } = ingestDefaults;
  const ackAfter = { kind: "replicated", replicas: 1 } as const;
  const url = `redis://127.0.0.1:${redis.port}`;
  const store = await openRedisStore({ url, ackAfter, commandTimeoutMs: 400, log });
  await using ingest = await startTestIngest({ store });
  await using devices = await TcpProxy.start(ingest);
  const clients = await Promise.all(Array.from({ length: 5 }, () => open(devices)));
  const send = (packets: number) =>
    Promise.all(clients.flatMap((client) => Array.from({ length: packets }, () => client.send(packet()))));
  await send(100);
  await Promise.all(clients.map((client) => client.flush()));

  // The link is cut, the devices connect again and claim; then the master is lost.
  await replica.call("REPLICAOF", "127.0.0.1", 1);
  await send(100);
  const streams = ingest.counters.streams;
  devices.cut();
  await until(
    () => Promise.resolve(ingest.counters.streams >= streams + 5),
    "every device has claimed again",
  );
  await replica.call("REPLICAOF", "NO", "ONE");
  toRedis.port = replica.port;
  redis.cut();
  await master.call("REPLICAOF", "127.0.0.1", replica.port);
  for (const client of clients) assertEquals((await client.close()).committed, 200);
  assertEquals(await untilStored(() => countsOf(store)), { "sensor-1": 1000 });
  assertLost(ingest.counters, 0);
  await ingest.drain();
  await store.close();
});

test("SQLite file emptied under open streams: lost packets are reported", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest);
  for (let index = 0; index < 100; index++) await client.send(packet());
  await client.flush();
  // What putting an older file in place does, without the file.
  store.sql("DELETE FROM sessions; DELETE FROM producers; DELETE FROM devices; DELETE FROM changes");
  for (let index = 0; index < 100; index++) await client.send(packet());
  assertEquals((await client.close()).committed, 200);
  const { packetsLost } = ingest.counters;
  assertLessOrEqual(100, packetsLost);
  assertEquals(await countsOf(store), { "sensor-1": 200 - packetsLost });
});

function assertLost(counters: IngestCounters, packets: number): void {
  assertEquals(counters.packetsLost, packets);
}
