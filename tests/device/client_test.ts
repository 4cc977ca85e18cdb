import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";

import {
  TelemetryClient,
  TelemetryClientError,
  type TelemetryClientOptions,
} from "../../src/device/client.ts";
import { type Store, StoreError } from "../../src/store/store.ts";
import { forSeeds } from "../random.ts";
import { TcpProxy } from "../tcp_proxy.ts";
import { TestTally } from "./tally.ts";

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
function open(target: string, options: Partial<TelemetryClientOptions> = {}): Promise<TelemetryClient> {
  return TelemetryClient.open({ target, minBackoffMs: 5, maxBackoffMs: 50, ...options });
}

Deno.test("Every packet is counted once, and the totals say so", async () => {
  await using tally = await TestTally.start();
  const client = await open(tally.target);
  for (let index = 0; index < 10_000; index++) await client.send(packet(index));
  const totals = await client.close();
  assertEquals(totals, {
    accepted: 10_000,
    stored: 10_000,
    rejected: 0,
    unreported: 0,
    pending: 0,
    rejections: [],
    committed: 10_000,
  });
  assertEquals(await tally.counts(), counted(10_000));
});

Deno.test("A flush resolves when all is settled, and the client goes on", async () => {
  await using tally = await TestTally.start();
  const client = await open(tally.target);
  assertEquals((await client.flush()).committed, 0);
  await client.send(packet(0));
  assertEquals((await client.flush()).stored, 1);
  assertEquals(await tally.counts(), counted(1));
  await client.send(packet(1));
  assertEquals((await client.close()).stored, 2);
});

Deno.test("A server that drains and one that follows lose and double nothing", async () => {
  await using tally = await TestTally.start();
  const { port } = tally.ingest;
  const client = await open(tally.target, { maxBufferedPackets: 500 });
  for (let index = 0; index < 20_000; index++) {
    if (index % 5000 === 2500) {
      assert(await tally.ingest.drain());
      await tally.startIngest({ port });
    }
    await client.send(packet(index));
  }
  const totals = await client.close();
  assertEquals(totals.committed, 20_000);
  assertEquals(totals.stored + totals.unreported, 20_000);
  assertEquals(await tally.counts(), counted(20_000));
});

Deno.test("Connections cut at random moments lose and double nothing", async () => {
  await using tally = await TestTally.start();
  await forSeeds(5, async (random) => {
    await using proxy = await TcpProxy.start(tally.ingest);
    const before = await tally.counts();
    let disconnects = 0;
    const client = await open(`127.0.0.1:${proxy.port}`, {
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
    assertEquals([totals.committed, totals.stored + totals.unreported], [20_000, 20_000]);
    assertGreater(disconnects, 3);
    const expected = counted(20_000);
    for (const [deviceId, count] of Object.entries(before)) expected[deviceId]! += count;
    assertEquals(await tally.counts(), expected);
  });
});

Deno.test("While the buffer is full, send waits", async () => {
  await using tally = await TestTally.start();
  const { port } = tally.ingest;
  await tally.ingest.drain();
  const client = await open(`127.0.0.1:${port}`, { maxBufferedPackets: 3 });
  await Promise.all([0, 1, 2].map((index) => client.send(packet(index))));
  let waiting = true;
  const fourth = client.send(packet(3)).then(() => waiting = false);
  const fifth = client.send(packet(4));
  await new Promise((resolve) => setTimeout(resolve));
  assert(waiting);
  assertEquals(client.totals.accepted, 3);
  await tally.startIngest({ port });
  await fourth;
  await fifth;
  assertEquals((await client.close()).stored, 5);
  assertEquals(await tally.counts(), counted(5));
});

Deno.test("The buffer is bounded in bytes too", async () => {
  await using tally = await TestTally.start();
  const client = await open(tally.target, { maxBufferedBytes: 1000 });
  await assertRejects(
    () => client.send({ device_id: "d", timestamp: 0, payload: new Uint8Array(1000) }),
    RangeError,
    "cannot send a packet of 1011 bytes: the limit is 1000",
  );
  for (let index = 0; index < 100; index++) {
    await client.send({ device_id: "d", timestamp: 0, payload: new Uint8Array(300) });
    assert(client.totals.pending <= 3);
  }
  assertEquals((await client.close()).stored, 100);
});

Deno.test("Packets wait for a server that is not there yet", async () => {
  await using tally = await TestTally.start();
  const { port } = tally.ingest;
  await tally.ingest.drain();
  const disconnected = Promise.withResolvers<TelemetryClientError>();
  const client = await open(`127.0.0.1:${port}`, { onDisconnected: disconnected.resolve });
  await client.send(packet(0));
  const error = await disconnected.promise;
  assertEquals(error.code, "UNAVAILABLE");
  assert(error.message.includes("ECONNREFUSED"), error.message);
  await tally.startIngest({ port });
  assertEquals((await client.close()).stored, 1);
});

Deno.test("Rejected packets are reported by reason, once", async () => {
  await using tally = await TestTally.start();
  const rejections: unknown[] = [];
  const client = await open(tally.target, { onRejected: (rejection) => rejections.push(rejection) });
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

Deno.test("A client in a session that has packets already goes on behind them", async () => {
  await using tally = await TestTally.start();
  for (const expected of [100, 200]) {
    const client = await open(tally.target, { session: "gateway-7" });
    for (let index = 0; index < 100; index++) await client.send(packet(index));
    const { stored, committed } = await client.close();
    assertEquals([stored, committed], [100, expected]);
  }
});

Deno.test("Of two clients in one session, the older one stops", async () => {
  await using tally = await TestTally.start();
  await using older = await open(tally.target, { session: "shared" });
  await older.send(packet(0));
  await older.flush();
  const newer = await open(tally.target, { session: "shared" });
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
  assertEquals(await tally.counts(), counted(2));
});

Deno.test("A server that has lost acknowledged packets is an error for good", async () => {
  await using tally = await TestTally.start();
  await using other = await TestTally.start();
  const client = await open(tally.target, { session: "s" });
  const proxy = await TcpProxy.start(tally.ingest);
  await using moved = await open(`127.0.0.1:${proxy.port}`, { session: "moved" });
  for (let index = 0; index < 3; index++) await moved.send(packet(index));
  await moved.flush();
  await client.close();
  await other.store.claimSession("moved", 1, Date.now()); // as an old backup would have it
  proxy.target.port = other.ingest.port;
  proxy.cut();
  await moved.send(packet(3)).catch(() => {});
  const error = await assertRejects(() => moved.flush(), TelemetryClientError, "1 packets of the session");
  assertEquals(error.code, "FAILED_PRECONDITION");
  await assertRejects(() => moved.send(packet(4)), TelemetryClientError);
  await assertRejects(() => moved.close(), TelemetryClientError);
  await proxy[Symbol.asyncDispose]();
});

Deno.test("A server that settles nothing is given up, and packets go on elsewhere", async () => {
  await using tally = await TestTally.start();
  const stuck = Promise.withResolvers<never>();
  // A real store does not stop in the middle of an apply on command.
  const hanging: Store = { ...bound(tally.store), apply: () => stuck.promise };
  await tally.ingest.drain();
  await tally.startIngest({ store: hanging, drainTimeoutMs: 1 });
  const hangingIngest = tally.ingest;
  await using proxy = await TcpProxy.start({ port: hangingIngest.port });
  const disconnected = Promise.withResolvers<Error>();
  const client = await open(`127.0.0.1:${proxy.port}`, {
    stallTimeoutMs: 100,
    onDisconnected: disconnected.resolve,
  });
  await client.send(packet(0));
  assert((await disconnected.promise).message.includes("settled nothing for 100 ms"));
  await tally.startIngest();
  proxy.target.port = tally.ingest.port;
  assertEquals((await client.close()).committed, 1);
  assertEquals(await tally.counts(), counted(1));
  stuck.reject(new StoreError("over"));
  await hangingIngest.drain();
});

Deno.test("Waiting ends with an abort", async () => {
  await using tally = await TestTally.start();
  const { port } = tally.ingest;
  await tally.ingest.drain();
  const client = await open(`127.0.0.1:${port}`, { maxBufferedPackets: 1 });
  await client.send(packet(0));
  const waiting = [client.send(packet(1)), client.flush(), client.close()];
  const reason = new Error("enough");
  await client.abort(reason);
  for (const result of await Promise.allSettled(waiting)) {
    assertEquals(result, { status: "rejected", reason });
  }
  await client.abort();
  await tally.startIngest({ port });
});

Deno.test("A closed client refuses packets", async () => {
  await using tally = await TestTally.start();
  const client = await open(tally.target);
  const closed = client.close();
  await assertRejects(() => client.send(packet(0)), TelemetryClientError, "the client is closed");
  await closed;
  await client.close();
});

Deno.test("Wrong options and packets are refused with what is wrong", async () => {
  const wrong: [Partial<TelemetryClientOptions>, string][] = [
    [{ target: "nowhere://" }, 'target is "nowhere://"'],
    [{ target: "localhost:99999" }, 'target is "localhost:99999"'],
    [{ target: "" }, 'target is ""'],
    [{ session: "a b" }, "session is"],
    [{ session: "s", file: "f" }, "session and file are both set"],
    [{ fileSync: true }, "fileSync is set without file"],
    [{ maxBufferedPackets: 0 }, "maxBufferedPackets is 0"],
    [{ minBackoffMs: 20_000 }, "minBackoffMs is 20000"],
  ];
  for (const [options, message] of wrong) {
    await assertRejects(() => TelemetryClient.open({ target: "127.0.0.1:1", ...options }), Error, message);
  }
  await using client = await open("127.0.0.1:1");
  for (const field of [{ device_id: 7 }, { timestamp: 1.5 }, { timestamp: 2 ** 53 }, { payload: "text" }]) {
    await assertRejects(
      () => client.send({ ...packet(0), ...field } as never),
      TypeError,
      "cannot send a packet",
    );
  }
});

function bound(store: Store): Store {
  return {
    description: store.description,
    ping: () => store.ping(),
    claimSession: (...args) => store.claimSession(...args),
    apply: (batch) => store.apply(batch),
    counts: () => store.counts(),
    device: (id) => store.device(id),
    remove: (id) => store.remove(id),
    close: () => store.close(),
  };
}
