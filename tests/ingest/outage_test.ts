/** @module */
import { fileURLToPath } from "node:url";

import { Client, credentials, type ServiceDefinition, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { assert, assertEquals, assertGreater, assertLess, assertLessOrEqual } from "@std/assert";

import { TelemetryClient } from "../../src/client/client.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import type { Store } from "../../src/store/store.ts";
import { countsOf } from "../support/batches.ts";
import {
  framedPacket,
  ingestDefaults,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";
import { gated } from "./gated_store.ts";

Deno.test("Redis paused under load: the queue stays bounded, health is NOT_SERVING, and after recovery no packet is lost", async () => {
  await using redis = await startRedis();
  await using store = await openStore(redis);
  const queueMaxPackets = 1000;
  await using ingest = await startTestIngest({ store, queueMaxPackets, storeGraceMs: 300 });
  await using api = await startTestApi(store);
  const ready = async () => {
    const response = await fetch(`${api.url}/readyz`);
    await response.body?.cancel();
    return response.status;
  };
  using health = new HealthClient(ingest.port);
  await until(async () => await health.check() === "SERVING", "it serves");
  assertEquals(await ready(), 200);

  const maxBufferedPackets = 5000;
  const clients = await Promise.all(
    ["a", "b", "c"].map((session) =>
      TelemetryClient.open({
        target: `127.0.0.1:${ingest.port}`,
        session,
        maxBufferedPackets,
        minBackoffMs: 10,
      })
    ),
  );
  let ends = false;
  const sending = clients.map(async (client) => {
    for (; !ends || client.totals.accepted < 4 * maxBufferedPackets;) {
      await client.send(packet(client.session, "x".repeat(100)));
    }
  });
  await until(() => ingest.counters.stored > 1000, "packets flow");
  redis.pause();
  await until(
    () => clients.every(({ totals }) => totals.pending >= maxBufferedPackets),
    "devices are held up",
  );
  await until(async () => await health.check() === "NOT_SERVING", "health reports it");
  await until(async () => await ready() === 503, "the api reports it");
  const { received, stored, fenced, queueFull } = ingest.counters;
  // Two batches; a message of a client, 64 KiB with 130 bytes a packet, may be over each bound.
  assertLessOrEqual(received - stored - fenced, 2 * (queueMaxPackets + 64 * 1024 / 130));
  assertGreater(queueFull, 0);

  redis.resume();
  await until(async () => await health.check() === "SERVING", "it serves again");
  await until(async () => await ready() === 200, "the api is ready again");
  ends = true;
  await Promise.all(sending);
  const totals = await Promise.all(clients.map((client) => client.close()));
  assertEquals(
    await countsOf(store),
    Object.fromEntries(totals.map(({ committed }, i) => [clients[i]!.session, committed])),
  );
  assertEquals(totals.map(({ accepted, committed }) => accepted - committed), [0, 0, 0]);
});

Deno.test("Redis paused while devices send 256 MiB: memory of ingest stays bounded", async () => {
  await using redis = await startRedis();
  const mebibyte = 2 ** 20, queueMaxBytes = 4 * mebibyte;
  const ingest = await TallyProcess.start("ingest", {
    REDIS_HOST: "127.0.0.1",
    REDIS_PORT: String(redis.port),
    TALLY_QUEUE_MAX_BYTES: String(queueMaxBytes) + "B",
  });
  try {
    const streams = 32, chunksPerStream = 8;
    const message = framedPacket(packet("sensor-1", "x".repeat(60_000)));
    const perChunk = Math.floor(mebibyte / message.length);
    const chunk = Buffer.concat(Array.from({ length: perChunk }, () => message));
    await using first = new RawCall(ingest.port);
    await first.finish(message); // what runs for the first time takes memory too
    const before = await residentBytes(ingest.pid);
    redis.pause();
    const calls = Array.from({ length: streams }, () => new RawCall(ingest.port));
    const ends = calls.map((call) => call.finish(...Array.from({ length: chunksPerStream }, () => chunk)));
    // All devices are blocked while ingest responds to many health checks in a row and reads none of their bytes meanwhile.
    using health = new HealthClient(ingest.port);
    for (let last = -1, unchanged = 0; unchanged < 200; unchanged++) {
      await health.check();
      const unsent = calls.reduce((sum, { stream }) => sum + stream.writableLength, 0);
      if (unsent !== last) unchanged = 0;
      last = unsent;
    }
    const held = await residentBytes(ingest.pid);
    // The queue and the batch on its way, a window per stream; and what V8 has not collected yet.
    const bound = 2 * queueMaxBytes + streams * 64 * 1024 + 64 * mebibyte;
    assertLess(held - before, bound, `grew from ${before} to ${held} bytes`);
    redis.resume();
    for (const { code, ack } of await Promise.all(ends)) {
      assertEquals([code, ack?.stored], [status.OK, chunksPerStream * perChunk]);
    }
  } finally {
    redis.resume();
    ingest.kill("SIGKILL");
    await ingest.ended;
  }
});

Deno.test("Redis paused: a device that connects meanwhile is served after recovery", async () => {
  await using redis = await startRedis();
  await using store = await openStore(redis);
  await using ingest = await startTestIngest({ store });
  redis.pause();
  await using refused = RawCall.session(ingest.port, "s");
  const { code, committed } = await refused.end;
  assertEquals([code, committed], [status.UNAVAILABLE, "0"]);
  let disconnects = 0;
  const client = await TelemetryClient.open({
    target: `127.0.0.1:${ingest.port}`,
    minBackoffMs: 5,
    maxBackoffMs: 20,
    onDisconnected: () => disconnects++,
  });
  await client.send(packet());
  await until(() => disconnects >= 2, "it tries again");
  redis.resume();
  assertEquals((await client.close()).committed, 1);
  assertEquals(await countsOf(store), { "sensor-1": 1 });
});

Deno.test("Store that responds but refuses batches: health is NOT_SERVING", async () => {
  await using real = await temporaryStore();
  const { store, gate } = gated(real);
  // Longer than the time between two pings, which go well.
  await using ingest = await startTestIngest({ store, storeGraceMs: 1500 });
  using _opened = gate;
  using health = new HealthClient(ingest.port);
  await until(async () => await health.check() === "SERVING", "it serves");
  gate.refuse();
  await using call = new RawCall(ingest.port);
  const end = call.finish(framedPacket(packet()));
  await until(async () => await health.check() === "NOT_SERVING", "health reports it");
  gate.open();
  assertEquals((await end).ack?.stored, 1);
  await until(async () => await health.check() === "SERVING", "it serves again");
});

/** A store on `redis` that gives up soon. */
async function openStore(redis: RedisServer): Promise<Store & AsyncDisposable> {
  const { log } = ingestDefaults;
  const store = await openRedisStore({
    url: redis.url,
    ackAfter: { kind: "stored" },
    commandTimeoutMs: 200,
    log,
  });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

const healthService = loadSync(fileURLToPath(new URL("../../proto/health.proto", import.meta.url)), {
  enums: String,
  defaults: true,
})["grpc.health.v1.Health"] as ServiceDefinition;

/** Health checks, as a load balancer sends them. */
class HealthClient implements Disposable {
  readonly #client: Client;

  constructor(port: number) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  }

  check(): Promise<string> {
    const { path, requestSerialize, responseDeserialize } = healthService["Check"]!;
    return new Promise((resolve, reject) =>
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        { service: "" },
        (error, answer) => error ? reject(error) : resolve(answer!.status),
      )
    );
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

async function residentBytes(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "rss=", "-p", String(pid)] }).output();
  const kibibytes = Number(new TextDecoder().decode(stdout));
  assert(kibibytes > 0, "ps does not say how much memory a process has");
  return kibibytes * 1024;
}
