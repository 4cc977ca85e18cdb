import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";

import {
  TelemetryClient,
  TelemetryClientError,
  type TelemetryClientOptions,
} from "../../src/client/client.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { countsOf } from "../support/batches.ts";
import { startTestIngest, temporaryStore } from "../support/harness.ts";
import { forSeeds } from "../support/random.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

const payload = new TextEncoder().encode("abcd");
const packet = (index: number) => ({ device_id: `device-${index % 7}`, timestamp: 1_753_600_000, payload });

/** What `packets` packets of {@linkcode packet} come to. */
function counted(packets: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let index = 0; index < packets; index++) {
    const { device_id } = packet(index);
    counts[device_id] = (counts[device_id] ?? 0) + 1;
  }
  return counts;
}

/** A client that reconnects quickly. */
function open(
  { port }: { port: number },
  options: Partial<TelemetryClientOptions> = {},
): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, minBackoffMs: 5, maxBackoffMs: 50, ...options });
}

test("TelemetryClient.send(): every packet is stored once, as the totals report", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest);
  for (let index = 0; index < 10_000; index++) await client.send(packet(index));
  const totals = await client.close();
  assertEquals(totals, {
    accepted: 10_000,
    stored: 10_000,
    rejected: 0,
    settledUnknown: 0,
    pending: 0,
    rejections: [],
    committed: 10_000,
    refilled: 0,
    lost: 0,
  });
  assertEquals(await countsOf(store), counted(10_000));
});

test("TelemetryClient.flush() resolves when all packets are settled; later ones are sent too", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest);
  assertEquals((await client.flush()).committed, 0);
  await client.send(packet(0));
  assertEquals((await client.flush()).stored, 1);
  assertEquals(await countsOf(store), counted(1));
  await client.send(packet(1));
  assertEquals((await client.close()).stored, 2);
});

test("TelemetryClient: a server that drains and its successor lose no packet and count none twice", async () => {
  await using store = await temporaryStore();
  let ingest = await startTestIngest({ store });
  const { port } = ingest;
  const client = await open(ingest, { maxBufferedPackets: 500 });
  for (let index = 0; index < 20_000; index++) {
    if (index % 5000 === 2500) {
      assert(await ingest.drain());
      ingest = await startTestIngest({ store, port });
    }
    await client.send(packet(index));
  }
  const totals = await client.close();
  assertEquals([totals.committed, totals.stored + totals.settledUnknown], [20_000, 20_000]);
  assertEquals(await countsOf(store), counted(20_000));
  await ingest.drain();
});

test("TelemetryClient: connections cut at random lose no packet and count none twice", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await forSeeds(5, async (random) => {
    await using proxy = await TcpProxy.start(ingest);
    const before = await countsOf(store);
    let disconnects = 0;
    const client = await open(proxy, {
      maxBufferedPackets: random.int(10, 3000),
      onDisconnected: () => disconnects++,
    });
    let cutAt = random.int(0, 20_000);
    proxy.onBytes = () => {
      if (proxy.bytes < cutAt) return;
      cutAt = proxy.bytes + random.int(0, 50_000);
      if (disconnects < 20) setTimeout(() => proxy.cut(), random.int(0, 15));
    };
    for (let index = 0; index < 20_000; index++) await client.send(packet(index));
    const totals = await client.close();
    assertEquals([totals.committed, totals.stored + totals.settledUnknown], [20_000, 20_000]);
    assertGreater(disconnects, 3);
    const expected = counted(20_000);
    for (const [deviceId, count] of Object.entries(before)) expected[deviceId]! += count;
    assertEquals(await countsOf(store), expected);
  });
});

test("TelemetryClient.send() waits while the buffer is full", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await ingest.drain();
  const client = await open(ingest, { maxBufferedPackets: 3 });
  await Promise.all([0, 1, 2].map((index) => client.send(packet(index))));
  let waiting = true;
  const fourth = client.send(packet(3)).then(() => waiting = false);
  const fifth = client.send(packet(4));
  await new Promise((resolve) => setTimeout(resolve));
  assert(waiting);
  assertEquals(client.totals.accepted, 3);
  await using _again = await startTestIngest({ store, port: ingest.port });
  await fourth;
  await fifth;
  assertEquals((await client.close()).stored, 5);
  assertEquals(await countsOf(store), counted(5));
});

test("TelemetryClient.send() waits while the buffer has its maximum of bytes", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest, { maxBufferedBytes: 1000 });
  await assertRejects(
    () => client.send({ device_id: "d", timestamp: 0, payload: new Uint8Array(1000) }),
    RangeError,
    "Cannot send a packet of 1011 bytes: the limit is 1000",
  );
  for (let index = 0; index < 100; index++) {
    await client.send({ device_id: "d", timestamp: 0, payload: new Uint8Array(300) });
    assert(client.totals.pending <= 3);
  }
  assertEquals((await client.close()).stored, 100);
});

test("TelemetryClient keeps packets until the server is started", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await ingest.drain();
  const disconnected = Promise.withResolvers<TelemetryClientError>();
  const client = await open(ingest, { onDisconnected: disconnected.resolve });
  await client.send(packet(0));
  const error = await disconnected.promise;
  assertEquals(error.code, "UNAVAILABLE");
  assertStringIncludes(error.message, "ECONNREFUSED");
  await using _again = await startTestIngest({ store, port: ingest.port });
  assertEquals((await client.close()).stored, 1);
});

test("TelemetryClient reports rejected packets by reason, once", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const rejections: unknown[] = [];
  const client = await open(ingest, { onRejected: (rejection) => rejections.push(rejection) });
  await client.send({ device_id: "", timestamp: 0, payload });
  await client.flush();
  await client.send({ device_id: "d", timestamp: -5, payload });
  await client.send({ device_id: "d", timestamp: 0, payload });
  await client.flush();
  await client.send({ device_id: "", timestamp: 0, payload });
  const totals = await client.close();
  assertEquals(rejections, [
    { reason: "DEVICE_ID_EMPTY", packets: 1 },
    { reason: "TIMESTAMP_NEGATIVE", packets: 1 },
    { reason: "DEVICE_ID_EMPTY", packets: 1 },
  ]);
  assertEquals([totals.stored, totals.rejected, totals.committed], [1, 3, 4]);
  assertEquals(totals.rejections, [
    { reason: "DEVICE_ID_EMPTY", packets: 2 },
    { reason: "TIMESTAMP_NEGATIVE", packets: 1 },
  ]);
});

test("TelemetryClient continues a session after the packets that are stored", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  for (const expected of [100, 200]) {
    const client = await open(ingest, { session: "gateway-7" });
    for (let index = 0; index < 100; index++) await client.send(packet(index));
    const { stored, committed } = await client.close();
    assertEquals([stored, committed], [100, expected]);
  }
});

test("TelemetryClient: of two clients in one session, the older one stops", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using older = await open(ingest, { session: "shared" });
  await older.send(packet(0));
  await older.flush();
  const newer = await open(ingest, { session: "shared" });
  await newer.send(packet(1));
  assertEquals((await newer.close()).committed, 2);
  // It hears of it when the newer one has claimed the session, which close() has seen.
  const error = await assertRejects(
    async () => {
      await older.send(packet(2));
      await older.flush();
    },
    TelemetryClientError,
    "another client uses session shared",
  );
  assertEquals(error.code, "ABORTED");
  assertEquals(await countsOf(store), counted(2));
});

test("TelemetryClient: a late claim of an abandoned call does not end the client", async () => {
  await using store = await temporaryStore();
  const gate = Promise.withResolvers<void>();
  let late: Promise<unknown> | undefined;
  // No real store can be told which claim to take its time over.
  const slowAtFirst = new Proxy(store, {
    get(target, key) {
      const method = Reflect.get(target, key)?.bind(target);
      if (key !== "claimSession" || late !== undefined) return method;
      return (...args: unknown[]) => late = gate.promise.then(() => method(...args));
    },
  });
  await using ingest = await startTestIngest({ store: slowAtFirst });
  const ends: (string | undefined)[] = [];
  const client = await open(ingest, { stallTimeoutMs: 200, onDisconnected: ({ code }) => ends.push(code) });
  await client.send(packet(0));
  await client.flush();
  gate.resolve();
  await late;
  await client.send(packet(1));
  assertEquals((await client.close()).committed, 2);
  assertEquals(ends, [undefined, "ABORTED"]);
  assertEquals(await countsOf(store), counted(2));
});

test("TelemetryClient continues with a server that lost acknowledged packets, and reports the loss", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using backup = await temporaryStore();
  await using behind = await startTestIngest({ store: backup });
  const target = { port: ingest.port };
  await using proxy = await TcpProxy.start(target);
  const reported: number[] = [];
  const client = await open(proxy, { onLost: (packets) => reported.push(packets) });
  for (let index = 0; index < 3; index++) await client.send(packet(index));
  await client.flush();
  await backup.claimSession(client.session, 1, Date.now());
  target.port = behind.port;
  proxy.cut();
  for (let index = 3; index < 7; index++) await client.send(packet(index));
  const { stored, committed, lost, refilled } = await client.close();
  assertEquals([stored, committed, lost, refilled], [7, 7, 2, 0]);
  assertEquals(reported, [2]);
  assertEquals(await countsOf(backup), { "device-3": 1, "device-4": 1, "device-5": 1, "device-6": 1 });
  assertEquals(behind.counters.packetsLost, 2);
});

test("TelemetryClient leaves a server that settles nothing, and sends the packets on another connection", async () => {
  await using store = await temporaryStore();
  // No real store can be told to stop answering in the middle of an apply.
  const stuck = Promise.withResolvers<never>();
  const hangingStore = new Proxy(store, {
    get: (target, key) => key === "apply" ? () => stuck.promise : Reflect.get(target, key)?.bind(target),
  });
  await using ingest = await startTestIngest({ store });
  const hanging = await startTestIngest({ store: hangingStore, drainTimeoutMs: 1 });
  const target = { port: hanging.port };
  await using proxy = await TcpProxy.start(target);
  const disconnected = Promise.withResolvers<Error>();
  const client = await open(proxy, { stallTimeoutMs: 200, onDisconnected: disconnected.resolve });
  await client.send(packet(0));
  assertStringIncludes((await disconnected.promise).message, "settled nothing for 200 ms");
  target.port = ingest.port;
  assertEquals((await client.close()).committed, 1);
  assertEquals(await countsOf(store), counted(1));
  stuck.reject(new StoreError("enough"));
  await hanging.drain();
});

test("TelemetryClient.send() and flush() reject when aborted", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await ingest.drain();
  const client = await open(ingest, { maxBufferedPackets: 1 });
  await client.send(packet(0));
  const waiting = [client.send(packet(1)), client.flush(), client.close()];
  const reason = new Error("enough");
  await client.abort(reason);
  for (const result of await Promise.allSettled(waiting)) {
    assertEquals(result, { status: "rejected", reason });
  }
  await client.abort();
  await using _again = await startTestIngest({ store, port: ingest.port });
});

test("TelemetryClient.send() rejects after close()", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest);
  const closed = client.close();
  await assertRejects(() => client.send(packet(0)), TelemetryClientError, "the client is closed");
  await closed;
  await client.close();
});

test("TelemetryClient names wrong options and packets that it refuses", async () => {
  const wrong: [Partial<TelemetryClientOptions>, string][] = [
    [{ target: "nowhere://" }, 'Cannot use target "nowhere://"'],
    [{ target: "localhost:99999" }, 'Cannot use target "localhost:99999"'],
    [{ target: "" }, 'Cannot use target ""'],
    [{ session: "a b" }, "Cannot use session"],
    [{ session: "s", file: "f" }, "Cannot use session and file together"],
    [{ fileSync: true }, "Cannot use fileSync without file"],
    [{ maxBufferedPackets: 0 }, "Cannot use maxBufferedPackets 0"],
    [{ minBackoffMs: 20_000 }, "Cannot use minBackoffMs 20000"],
  ];
  for (const [options, message] of wrong) {
    await assertRejects(() => TelemetryClient.open({ target: "127.0.0.1:1", ...options }), Error, message);
  }
  await using client = await open({ port: 1 });
  for (const field of [{ device_id: 7 }, { timestamp: 1.5 }, { timestamp: 2 ** 53 }, { payload: "text" }]) {
    await assertRejects(
      () => client.send({ ...packet(0), ...field } as never),
      TypeError,
      "Cannot send a packet",
    );
  }
});
