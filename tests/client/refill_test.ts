/**
 * Clients that keep acknowledged packets: a store that comes back older, or empty, gets what it lost again, each
 * packet once.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";

import { Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { assertEquals, assertGreater, assertRejects } from "@std/assert";

import { type KeepAcked, TelemetryClient, TelemetryClientError } from "../../src/client/client.ts";
import type { Ack } from "../../src/protocol/messages.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import { openSqliteThreads } from "../../src/store/sqlite/threads.ts";
import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import { withFile } from "../support/folders.ts";
import { ingestDefaults, packet, startTestIngest, type TestIngest } from "../support/harness.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { openStore, untilStored } from "../support/redis_store.ts";
import { redisShards } from "../support/sharded_places.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/until.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

async function redisStore(server: RedisServer): Promise<Store & AsyncDisposable> {
  const store = await openStore(server);
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** More than any test sends. */
const keepAll: KeepAcked = { packets: 1_000_000 };

type Options = Partial<Parameters<typeof TelemetryClient.open>[0]>;

/** A client that reconnects quickly. */
function open({ port }: { port: number }, options: Options): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, minBackoffMs: 5, maxBackoffMs: 50, ...options });
}

/** Sends so many packets, over several batches of the store, with Acks in flight at any time. */
async function send(clients: readonly TelemetryClient[], packets: number): Promise<void> {
  for (let index = 0; index < packets; index++) {
    await Promise.all(clients.map((client, i) => client.send(packet(`device-${i}`))));
    if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
}

const flush = (clients: readonly TelemetryClient[]) => Promise.all(clients.map((client) => client.flush()));

/** Sends with three clients while `lose` takes data from the store; what each client then has sent, and lost. */
async function sendThrough(
  ingest: TestIngest,
  keepAcked: KeepAcked,
  prepare: () => Promise<() => Promise<unknown>>,
): Promise<{ expected: Record<string, number>; lost: number; refilled: number }> {
  let reported = 0;
  const onLost = (packets: number) => reported += packets;
  const clients = await Promise.all([1, 2, 3].map(() => open(ingest, { keepAcked, onLost })));
  await send(clients, 1000);
  await flush(clients);
  const lose = await prepare();
  await send(clients, 1000);
  await flush(clients);
  await Promise.all([lose(), send(clients, 2000)]);
  await send(clients, 500);
  const totals = await Promise.all(clients.map((client) => client.close()));
  for (const { accepted, refilled, stored, settledUnknown, committed } of totals) {
    assertEquals([stored + settledUnknown, committed], [accepted + refilled, 4500]);
  }
  const lost = totals.reduce((sum, { lost }) => sum + lost, 0);
  assertEquals(reported, lost);
  return {
    expected: Object.fromEntries(totals.map((totals, i) => [`device-${i}`, 4500 - totals.lost])),
    lost,
    refilled: totals.reduce((sum, { refilled }) => sum + refilled, 0),
  };
}

/** Ways in which a Redis loses data under the devices' open streams; the first call prepares, the second does it. */
const losses: Record<string, (server: RedisServer) => Promise<() => Promise<unknown>>> = {
  "FLUSHALL in the midst of a live stream": (server) => Promise.resolve(() => server.call("FLUSHALL")),
  "a restart without persistence": (server) => Promise.resolve(() => server.restart()),
  "an older RDB file put back": (server) => server.snapshot(),
};

for (const [what, prepare] of Object.entries(losses)) {
  test(`TelemetryClient keepAcked: after ${what}, the store has what was sent, once`, async () => {
    await using server = await startRedis();
    await using store = await redisStore(server);
    await using ingest = await startTestIngest({ store });
    const { expected, lost, refilled } = await sendThrough(ingest, keepAll, () => prepare(server));
    assertEquals(await countsOf(store), expected);
    assertEquals([lost, ingest.counters.packetsLost], [0, 0]);
    assertGreater(refilled, 3 * 1000 - 1);
    assertGreater(ingest.counters.sessionsReverted, 0);
  });

  test(`TelemetryClient keepAcked: after ${what}, less than the rest is lost when it keeps less, and reported`, async () => {
    await using server = await startRedis();
    await using store = await redisStore(server);
    await using ingest = await startTestIngest({ store });
    const { expected, lost, refilled } = await sendThrough(ingest, { packets: 100 }, () => prepare(server));
    assertEquals(await countsOf(store), expected);
    assertEquals(ingest.counters.packetsLost, lost);
    assertEquals(refilled, 3 * 100);
    assertGreater(lost, 0);
  });
}

test("TelemetryClient keepAcked: after a failover to a replica without the last writes, the store has what was sent", async () => {
  const atOnce = { "repl-diskless-sync-delay": "0" };
  await using master = await startRedis(atOnce);
  await using replica = await startRedis({ ...atOnce, replicaof: `127.0.0.1 ${master.port}` });
  const toRedis = { port: master.port };
  await using redis = await TcpProxy.start(toRedis);
  const url = `redis://127.0.0.1:${redis.port}`;
  const { log } = ingestDefaults;
  const store = await openRedisStore({ url, ackAfter: { kind: "stored" }, commandTimeoutMs: 400, log });
  {
    await using ingest = await startTestIngest({ store });
    const { expected, lost, refilled } = await sendThrough(ingest, keepAll, async () => {
      await master.call("WAIT", 1, 5000);
      await replica.call("REPLICAOF", "127.0.0.1", 1);
      return async () => {
        await replica.call("REPLICAOF", "NO", "ONE");
        toRedis.port = replica.port;
        redis.cut();
        await master.call("REPLICAOF", "127.0.0.1", replica.port);
      };
    });
    assertEquals(await untilStored(() => countsOf(store)), expected);
    assertEquals(lost, 0);
    assertGreater(refilled, 3 * 1000 - 1);
  }
  await store.close();
});

test("TelemetryClient keepAcked: after an older copy replaced the SQLite file, the store has what was sent, once", () =>
  withFile(async (path) => {
    const store = await openSqliteThreads({ path, ackAfter: { kind: "stored" }, lockTimeoutMs: 1000 });
    {
      await using ingest = await startTestIngest({ store });
      const { expected, lost, refilled } = await sendThrough(ingest, keepAll, () => {
        const backup = `${path}.backup`, database = new DatabaseSync(path);
        database.exec(`VACUUM INTO '${backup}'`);
        database.close();
        return Promise.resolve(async () => {
          for (const end of ["", "-wal", "-shm"]) await Deno.remove(`${path}${end}`).catch(() => {});
          await Deno.rename(backup, path);
        });
      });
      assertEquals(await untilStored(() => countsOf(store)), expected);
      assertEquals(lost, 0);
      assertGreater(refilled, 3 * 1000 - 1);
    }
    await store.close();
  }));

test("TelemetryClient keepAcked: an evicted session is not sent again, for the store has its packets", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  await using devices = await TcpProxy.start(ingest);
  const client = await open(devices, { keepAcked: keepAll, session: "s" });
  await send([client], 200);
  await client.flush();
  const claims = ingest.counters.streams;
  await server.call("DEL", shardKeys().session("s"));
  devices.cut();
  await until(() => ingest.counters.streams > claims, "the client has connected again");
  await send([client], 200);
  const { refilled } = await client.close();
  assertEquals([refilled, await countsOf(store)], [0, { "device-0": 400 }]);
});

test("TelemetryClient keepAcked with a file: what an earlier process sent is sent again to a store that lost it", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  const folder = await Deno.makeTempDir();
  const file = `${folder}/device.journal`;
  const sendWith = async (packets: number, keepAcked?: KeepAcked) => {
    const client = await open(ingest, { file, ...keepAcked && { keepAcked } });
    await send([client], packets);
    return await client.close();
  };
  await sendWith(100, keepAll);
  const putBack = await server.snapshot();
  await sendWith(50, keepAll);
  await putBack();
  assertEquals((await sendWith(1, keepAll)).refilled, 50);
  assertEquals(await countsOf(store), { "device-0": 151 });
  await server.call("FLUSHALL");
  assertEquals((await sendWith(1, { packets: 60 })).refilled, 60);
  assertEquals(await countsOf(store), { "device-0": 61 });
  assertEquals(ingest.counters.packetsLost, 91);
  // What is not to be kept is not sent again, though it may be in the file still.
  await server.call("FLUSHALL");
  const { refilled, lost } = await sendWith(1);
  assertEquals([refilled, lost, await countsOf(store)], [0, 152, { "device-0": 1 }]);
  await Deno.remove(folder, { recursive: true });
});

test("TelemetryClient keepAcked with a file: a rewritten file still has what is kept", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  const folder = await Deno.makeTempDir();
  const file = `${folder}/device.journal`, payload = "x".repeat(10_000);
  const sendWith = async (packets: number) => {
    const client = await open(ingest, { file, keepAcked: { packets: 120 } });
    for (let index = 0; index < packets; index++) {
      await client.send(packet("a", payload));
      if (index % 20 === 0) await client.flush();
    }
    return await client.close();
  };
  // 3 MB: the file is rewritten at twice what is kept, and then holds 60 packets more.
  await sendWith(300);
  assertGreater(2_500_000, (await Deno.stat(file)).size);
  await server.call("FLUSHALL");
  const { refilled, lost } = await sendWith(1);
  assertEquals([refilled, lost, await countsOf(store)], [120, 180, { a: 121 }]);
  await Deno.remove(folder, { recursive: true });
});

test("TelemetryClient keepAcked keeps no more bytes than it is to, and nothing older", async () => {
  await using server = await startRedis();
  await using store = await redisStore(server);
  await using ingest = await startTestIngest({ store });
  const refilledWith = async (keepAcked: KeepAcked, pauseMs: number) => {
    const client = await open(ingest, { keepAcked });
    await send([client], 100);
    await client.flush();
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await send([client], 10);
    await client.flush();
    await server.call("FLUSHALL");
    await send([client], 1);
    return (await client.close()).refilled;
  };
  const size = 2 + 2 + "device-0".length + 7 + 2 + "abcd".length;
  assertEquals(await refilledWith({ bytes: 20 * size }, 0), 20);
  assertEquals(await refilledWith({ durationMs: 500 }, 700), 10);
  assertEquals(await refilledWith({ durationMs: 60_000 }, 0), 110);
});

test("TelemetryClient ends when a server, as none of Tally does, goes back to packets that are not kept", async () => {
  const server = new Server();
  const receive = (call: ServerDuplexStream<unknown, Ack>) => {
    const metadata = new Metadata();
    metadata.set("telemetry-committed", "0");
    call.sendMetadata(metadata);
    call.on("error", () => {});
    call.on("data", () => {
      call.write({ ok: true, stored: 2, duplicates: 0, rejected: 0, committed: 2, rejections: [] });
      call.emit("error", { code: status.UNAVAILABLE, details: "call again" });
    });
  };
  server.addService({ StreamBatches: streamBatches } as never, { StreamBatches: receive });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      ServerCredentials.createInsecure(),
      (error, port) => error === null ? resolve(port) : reject(error),
    )
  );
  await using client = await open({ port }, { keepAcked: { packets: 1 } });
  client.send(packet("a"));
  client.send(packet("a"));
  await client.flush();
  const later = client.send(packet("a")).then(() => client.flush());
  await assertRejects(() => later, TelemetryClientError, "Cannot go back to packet 0 of the session");
  server.forceShutdown();
});

for (const [what, prepare] of [["put back to an earlier state", false], ["emptied", true]] as const) {
  test(`TelemetryClient keepAcked: three shards that were ${what} have what was sent, once`, async () => {
    await using place = await redisShards();
    const store = await place.open();
    const empty = await place.snapshot();
    {
      await using ingest = await startTestIngest({ store });
      const client = await open(ingest, { keepAcked: keepAll });
      const sendAll = async (packets: number) => {
        for (let index = 0; index < packets; index++) await client.send(packet(`device-${index % 10}`));
      };
      await sendAll(1000);
      await client.flush();
      const putBack = prepare ? empty : await place.snapshot();
      await sendAll(1000);
      await client.flush();
      await Promise.all([putBack(), sendAll(2000)]);
      const { refilled, lost, committed } = await client.close();
      assertEquals([lost, committed], [0, 4000]);
      assertGreater(refilled, 999);
      const expected = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`device-${i}`, 400]));
      assertEquals(await untilStored(() => countsOf(store)), expected);
    }
    await store.close();
  });
}
