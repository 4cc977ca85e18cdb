/** @module */
import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";

import { TelemetryClient } from "../../src/client/client.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import { FaultProxy } from "../chaos/fault_proxy.ts";
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
import { TallyProcess } from "../support/tally_process.ts";
import { until } from "../support/until.ts";
import { gated } from "./gated_store.ts";

for (const fastPath of [true, false]) {
  const test = (title: string, body: () => Promise<void>) =>
    Deno.test(`${title} (${fastPath ? "fast path" : "grpc-js"})`, body);

  test("TelemetryServer drain: half-closed calls get their final Ack, others the offset to continue from", async () => {
    await using real = await temporaryStore();
    const { store, gate } = gated(real);
    await using ingest = await startTestIngest({ store, fastPath });
    using _opened = gate;
    gate.hold();
    await using done = RawCall.session(ingest.port, "done");
    await using doneBatches = RawCall.session(ingest.port, "done-batches", 0, "StreamBatches");
    await using open = RawCall.session(ingest.port, "open");
    await using openBatches = RawCall.session(ingest.port, "open-batches", 0, "StreamBatches");
    void done.finish(framedPacket(packet()), framedPacket(packet()));
    void doneBatches.finish(framedBatch([packet(), packet(), packet()]));
    await open.send(framedPacket(packet()));
    await openBatches.send(framedBatch([packet(), packet()]));
    await until(() => ingest.counters.received === 8, "all packets are there");
    const drained = ingest.drain();
    gate.open();

    assertEquals([(await done.end).code, (await done.end).ack?.stored], [status.OK, 2]);
    assertEquals([(await doneBatches.end).code, (await doneBatches.end).ack?.stored], [status.OK, 3]);
    assertEquals([(await open.end).code, (await open.end).committed], [status.UNAVAILABLE, "1"]);
    assertEquals([(await openBatches.end).code, (await openBatches.end).committed], [
      status.UNAVAILABLE,
      "2",
    ]);
    assert(await drained);
    assertEquals(await countsOf(real), { "sensor-1": 8 });
  });

  test("TelemetryServer drain: without a store it ends at its deadline, and acknowledges nothing", async () => {
    await using real = await temporaryStore();
    const { store, gate } = gated(real);
    await using ingest = await startTestIngest({ store, fastPath, drainTimeoutMs: 300 });
    using _opened = gate;
    gate.refuse();
    await using done = RawCall.session(ingest.port, "done");
    await using open = RawCall.session(ingest.port, "open", 0, "StreamBatches");
    void done.finish(framedPacket(packet()));
    await open.send(framedBatch([packet()]));
    await until(() => ingest.counters.received === 2, "both packets are there");
    assertEquals(await ingest.drain(), false);
    for (const { acks, committed, code } of [await done.end, await open.end]) {
      assertEquals(acks, []);
      assertEquals(committed ?? "0", "0");
      assert(code === status.UNAVAILABLE || code === -1, `ended with ${code}`);
    }
    assertEquals(await countsOf(real), {});
  });

  test("TelemetryServer drain: a stream that waits for room loses no acknowledged packet", async () => {
    await using real = await temporaryStore();
    const { store, gate } = gated(real);
    await using ingest = await startTestIngest({ store, fastPath, queueMaxPackets: 10 });
    using _opened = gate;
    gate.hold();
    await using call = RawCall.session(ingest.port, "s");
    const all = call.finish(...Array.from({ length: 500 }, () => framedPacket(packet())));
    await until(() => ingest.counters.queueFull > 0, "it waits for room");
    const drained = ingest.drain();
    gate.open();
    const { code, committed } = await all;
    assertEquals(code, status.UNAVAILABLE);
    assert(await drained);
    assertEquals(await countsOf(real), { "sensor-1": Number(committed) });
  });
}

Deno.test("SIGTERM with the store down: ingest exits with 1 at the deadline", async () => {
  await using redis = await startRedis();
  const ingest = await startIngest(redis, { TALLY_DRAIN_TIMEOUT: "1s", TALLY_STORE_TIMEOUT: "200ms" });
  try {
    await using call = RawCall.session(ingest.port, "s", 0, "StreamBatches");
    assertEquals(await call.committed, "0");
    redis.pause();
    await call.send(framedBatch([packet()]));
    // A store that does not answer is noticed after TALLY_STORE_TIMEOUT: the packet is stored long before.
    await until(() => ingest.output.some((line) => line.includes("store fails")), "the store fails");
    ingest.kill("SIGTERM");
    assertEquals((await call.end).acks, []);
    assertEquals((await ingest.ended).code, 1, ingest.output.join("\n"));
    assert(ingest.output.some((line) => line.includes("could not stop within 1000 ms")));
    const dropped = ingest.output.find((line) => line.includes("packets that are not stored are dropped"));
    assertMatch(dropped ?? "no line about it", /"streams":1,.*"storeError":"could not .* on Redis at /);
  } finally {
    redis.resume();
    ingest.kill("SIGKILL");
    await ingest.ended;
  }
});

Deno.test("Rolling restart of two ingests under load: no packet is lost or counted twice", async () => {
  await using redis = await startRedis();
  const ingests = [await startIngest(redis), await startIngest(redis)];
  let turn = 0;
  await using front = new FaultProxy(() => ingests[turn++ % 2]!.port);
  const options = { target: `127.0.0.1:${front.port}`, minBackoffMs: 5, maxBackoffMs: 50 };
  const clients = await Promise.all(
    [1, 2, 3, 4].map(() => TelemetryClient.open({ ...options, maxBufferedPackets: 200 })),
  );
  let restarted = false;
  let sent = 0;
  try {
    const sending = clients.map(async (client, n) => {
      for (let index = 0; !restarted; index++) {
        await client.send(packet(`device-${n}`));
        sent++;
        if (index % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    for (const index of [0, 1]) {
      const before = sent;
      await until(() => sent > before + 1000, "packets flow");
      const old = ingests[index]!;
      ingests[index] = ingests[1 - index]!; // as a load balancer does on NOT_SERVING
      old.kill("SIGTERM");
      assertEquals((await old.ended).code, 0, old.output.join("\n"));
      ingests[index] = await startIngest(redis);
    }
    restarted = true;
    await Promise.all(sending);
    const totals = await Promise.all(clients.map((client) => client.close()));
    assertGreater(sent, 2000);
    const expected = Object.fromEntries(totals.map(({ committed }, n) => [`device-${n}`, committed]));
    assertEquals(totals.reduce((sum, { accepted }) => sum + accepted, 0), sent);
    const store = await openRedisStore({
      url: redis.url,
      ackAfter: { kind: "stored" },
      commandTimeoutMs: 2000,
      log: ingestDefaults.log,
    });
    assertEquals(await countsOf(store), expected);
    await store.close();
  } finally {
    restarted = true;
    await Promise.all(clients.map((client) => client.abort()));
    for (const ingest of new Set(ingests)) {
      ingest.kill("SIGKILL");
      await ingest.ended;
    }
  }
});

function startIngest(redis: RedisServer, settings: Record<string, string> = {}): Promise<TallyProcess> {
  return TallyProcess.start("ingest", {
    REDIS_HOST: "127.0.0.1",
    REDIS_PORT: String(redis.port),
    ...settings,
  });
}
