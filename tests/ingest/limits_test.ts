/** What limits of devices, sessions, streams, connections and rates do to those who send. */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";

import { TelemetryClient } from "../../src/client/client.ts";
import { anonymousDevice } from "../../src/identity/identity.ts";
import { type OpenStream, streamRefusal } from "../../src/ingest/stream/ingest_state.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { countsOf } from "../support/batches.ts";
import { addTokens, bearer, deviceAuthenticator } from "../support/device_auth.ts";
import {
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { seededRandom } from "../support/random.ts";
import { until } from "../support/until.ts";
import { ModelIngest } from "./model_ingest.ts";
import { ModelStore } from "./session_model.ts";

const limitReached = (packets: number) => [{ reason: RejectReason.DEVICE_LIMIT, packets }];

for (const fastPath of [true, false]) {
  const test = (title: string, body: () => Promise<void>) =>
    Deno.test(`${title} (${fastPath ? "fast path" : "grpc-js"})`, body);

  test("Above TALLY_MAX_DEVICES each stream's Ack has its rejections, and known devices are counted", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxDevices: 2, flushIntervalMs: 100 });
    await using known = new RawCall(ingest.port);
    await known.finish(framedPacket(packet("a")), framedPacket(packet("b")));
    const calls = [
      new RawCall(ingest.port),
      new RawCall(ingest.port),
      RawCall.session(ingest.port, "s"),
    ];
    const sent = [["a", "new", "new"], ["new", "b", "other"], ["other", "a"]];
    const ends = await Promise.all(
      calls.map((call, i) => call.finish(...sent[i]!.map((id) => framedPacket(packet(id))))),
    );
    assertEquals(ends.map(({ code }) => code), [status.OK, status.OK, status.OK]);
    assertEquals(ends.map(({ ack }) => [ack?.stored, ack?.committed]), [[1, 3], [1, 3], [1, 2]]);
    assertEquals(ends.map(({ ack }) => ack?.rejections), [limitReached(2), limitReached(2), limitReached(1)]);
    assertEquals(await countsOf(store), { a: 3, b: 2 });
    const { received, stored, rejected } = ingest.counters;
    assertEquals([received, stored, rejected.get(RejectReason.DEVICE_LIMIT)], [10, 5, 5]);
    assertGreaterOrEqual(ingest.counters.devicesRefused, 2);
    // Each of them is rejected again when the device sends again, until there is room.
    assert(await store.remove("b"));
    await using last = new RawCall(ingest.port);
    assertEquals((await last.finish(framedPacket(packet("other")))).ack?.stored, 1);
    for (const call of calls) await call[Symbol.asyncDispose]();
  });

  test("A stream above TALLY_MAX_STREAMS_PER_ADDRESS gets RESOURCE_EXHAUSTED, until another one ends", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxStreamsPerAddress: 1 });
    await using first = new RawCall(ingest.port);
    await until(() => ingest.counters.openStreams === 1, "the first stream is open");
    await using second = new RawCall(ingest.port);
    const end = await second.finish(framedPacket(packet()));
    assertEquals(end.code, status.RESOURCE_EXHAUSTED);
    assert(end.details.includes("TALLY_MAX_STREAMS_PER_ADDRESS (1)"), end.details);
    assertEquals((await first.finish()).code, status.OK);
    await using third = new RawCall(ingest.port);
    assertEquals((await third.finish(framedPacket(packet()))).code, status.OK);
    assertEquals(ingest.counters.streamsRefused, 1);
  });

  test("A stream above TALLY_MAX_STREAMS_PER_IDENTITY gets RESOURCE_EXHAUSTED, one of another identity does not", async () => {
    await using store = await temporaryStore();
    const [one, other] = await addTokens(store, ["sensor-*", "sensor-1"]);
    const authenticator = await deviceAuthenticator(store, "token");
    await using ingest = await startTestIngest({
      store,
      fastPath,
      authenticator,
      maxStreamsPerIdentity: 1,
    });
    const call = (token: string) => new RawCall(ingest.port, "StreamPackets", bearer(token));
    await using first = call(one!.token);
    await first.send(framedPacket(packet()));
    await until(() => ingest.counters.stored === 1, "the first stream is open");
    await using second = call(one!.token);
    const end = await second.finish(framedPacket(packet()));
    assertEquals(end.code, status.RESOURCE_EXHAUSTED);
    assert(end.details.includes("TALLY_MAX_STREAMS_PER_IDENTITY (1)"), end.details);
    await using third = call(other!.token);
    assertEquals((await third.finish(framedPacket(packet()))).code, status.OK);
    assertEquals((await first.finish()).code, status.OK);
  });

  test("New sessions above TALLY_MAX_SESSIONS and TALLY_NEW_SESSIONS_PER_MINUTE are refused, known ones continue", async () => {
    await using store = await temporaryStore();
    for (
      const [limits, setting] of [
        [{ maxSessions: 2 }, "TALLY_MAX_SESSIONS (2)"],
        [{ newSessionsPerMinute: 2 }, "TALLY_NEW_SESSIONS_PER_MINUTE (2)"],
      ] as const
    ) {
      await using ingest = await startTestIngest({ store, fastPath, ...limits });
      const send = async (session: string) => {
        await using call = RawCall.session(ingest.port, session);
        return await call.finish(framedPacket(packet()));
      };
      const codes = [];
      for (const session of ["a", "b", "a", "b", "a"]) codes.push((await send(session)).code);
      assertEquals(codes, Array(5).fill(status.OK));
      const refused = await send("c");
      assertEquals(refused.code, status.RESOURCE_EXHAUSTED);
      assert(refused.details.includes(setting), refused.details);
      assertEquals((await send("b")).code, status.OK);
      assertEquals(ingest.counters.sessionsRefused, 1);
      store.sql("DELETE FROM sessions");
    }
  });

  test("A stream above its identity's rate waits, and everything is stored", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, identityPacketsPerSecond: 100 });
    await using call = new RawCall(ingest.port);
    const startedMs = performance.now();
    const { ack } = await call.finish(...Array.from({ length: 250 }, () => framedPacket(packet())));
    assertGreater(performance.now() - startedMs, 1300);
    assertEquals([ack?.stored, ack?.rejected], [250, 0]);
    assertGreater(ingest.counters.streamsPaced, 10);
  });

  test("A message far above its device's rate is RATE_LIMITED past the bound, other devices' are not", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, devicePacketsPerSecond: 10 });
    const of = (id: string, packets: number) => Array.from({ length: packets }, () => packet(id));
    await using alone = new RawCall(ingest.port, "StreamBatches");
    const { ack } = await alone.finish(framedBatch(of("a", 200)));
    const limited = (packets: number) => [{ reason: RejectReason.RATE_LIMITED, packets }];
    assertEquals([ack?.stored, ack?.rejections], [110, limited(90)]);

    await using gateway = new RawCall(ingest.port, "StreamBatches");
    const startedMs = performance.now();
    const mixed = [...of("b", 1), ...of("c", 100), ...of("b", 5)];
    await gateway.finish(framedBatch(mixed), framedBatch(of("d", 5)));
    assertLess(performance.now() - startedMs, 900);
    const counts = await countsOf(store);
    assertEquals([counts["b"], counts["c"], counts["d"]], [6, 20, 5]);
  });

  test("Clients whose connections reach TALLY_MAX_CONNECTION_AGE lose no packet and count none twice", async () => {
    await using store = await temporaryStore();
    const ages = { maxConnectionAgeMs: 200, maxConnectionAgeGraceMs: 100 };
    await using ingest = await startTestIngest({ store, fastPath, ...ages });
    const target = `127.0.0.1:${ingest.port}`;
    const client = await TelemetryClient.open({ target, minBackoffMs: 5, maxBackoffMs: 50 });
    const untilMs = performance.now() + 2500;
    let sent = 0;
    while (performance.now() < untilMs) {
      await client.send({ device_id: "a", timestamp: 0, payload: new Uint8Array(4) });
      if (++sent % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const totals = await client.close();
    assertEquals([totals.committed, totals.stored + totals.settledUnknown], [sent, sent]);
    assertEquals(await countsOf(store), { a: sent });
    assertGreater(ingest.counters.connectionsEnded, 3);
  });

  test("TALLY_MAX_CONNECTION_AGE: at the end of the grace a call gets its Ack and UNAVAILABLE", async () => {
    await using store = await temporaryStore();
    const ages = { maxConnectionAgeMs: 100, maxConnectionAgeGraceMs: 100 };
    await using ingest = await startTestIngest({ store, fastPath, ...ages });
    await using call = RawCall.session(ingest.port, "s", 0, "StreamBatches");
    await call.send(framedBatch([packet(), packet()]));
    const end = await call.end;
    assertEquals([end.code, end.committed, end.ack?.committed], [status.UNAVAILABLE, "2", 2]);
    assert(end.details.includes("TALLY_MAX_CONNECTION_AGE (100 ms)"), end.details);
  });

  test("TALLY_MAX_CONNECTION_IDLE closes a connection without calls, and not one with an open call", async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxConnectionIdleMs: 200 });
    await using open = new RawCall(ingest.port);
    const idle = connectHttp2(`http://127.0.0.1:${ingest.port}`);
    await once(idle, "close");
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals((await open.finish(framedPacket(packet()))).code, status.OK);
    assertEquals(ingest.counters.connectionsEnded, 1);
  });
}

/** Connects; resolves to whether the server serves it: it sends its preface, or closes the connection. */
async function isServed(port: number, open: Deno.Conn[]): Promise<boolean> {
  try {
    const connection = await Deno.connect({ port });
    open.push(connection);
    return await connection.read(new Uint8Array(9)) !== null;
  } catch {
    return false; // It was reset.
  }
}

async function connect(port: number, count: number): Promise<number> {
  const open: Deno.Conn[] = [];
  const served = await Promise.all(Array.from({ length: count }, () => isServed(port, open)));
  for (const connection of open) connection.close();
  return served.filter(Boolean).length;
}

Deno.test("TALLY_MAX_CONNECTIONS_PER_ADDRESS: further connections of the address are closed", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, maxConnectionsPerAddress: 3 });
  assertEquals(await connect(ingest.port, 5), 3);
  assertEquals(ingest.counters.connectionsRefused, 2);
  await until(async () => await connect(ingest.port, 3) === 3, "there is room again");
});

Deno.test("TALLY_NEW_CONNECTIONS_PER_SECOND: those above it wait for their turn, and what would wait too long is closed", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, newConnectionsPerSecond: 20 });
  const startedMs = performance.now();
  // A hundred at once, and twenty a second after that.
  assertEquals(await connect(ingest.port, 130), 130);
  assertGreater(performance.now() - startedMs, 1300);
  assertEquals(ingest.counters.connectionsRefused, 0);
  const served = await connect(ingest.port, 200);
  assert(served >= 100 && served < 115, `${served} were served`);
  assertEquals(ingest.counters.connectionsRefused, 200 - served);
});

/** `store`, of which every third reply to a batch is lost after it was applied, and every fifth batch on its way. */
function lossy(store: Store): Store {
  let calls = 0;
  const apply: Store["apply"] = async (batch) => {
    const call = ++calls;
    if (call % 5 === 0) throw new StoreError("the test loses the batch");
    const unapplied = await store.apply(batch);
    if (call % 3 === 0) throw new StoreError("the test loses the reply");
    return unapplied;
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === "apply") return apply;
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("TALLY_MAX_DEVICES with two ingests whose replies are lost: each packet has one outcome, each Ack is exact", async () => {
  await using store = await temporaryStore();
  const maxDevices = 40, limits = { maxDevices, newDevicesPerMinute: 1000 };
  await using first = await startTestIngest({ store: lossy(store), ...limits });
  await using second = await startTestIngest({ store: lossy(store), ...limits });
  const random = seededRandom(7);
  let stored = 0, rejected = 0, sent = 0;
  const device = async (port: number, name: string) => {
    for (let call = 0; call < 4; call++) {
      await using stream = call % 2 === 0
        ? RawCall.session(port, `${name}-${call}`, 0, "StreamBatches")
        : new RawCall(port, "StreamBatches");
      for (let message = 0; message < 5; message++) {
        const packets = Array.from({ length: 20 }, () => packet(`device-${random.int(1, 60)}`));
        sent += packets.length;
        await stream.send(framedBatch(packets));
        await until(() => stream.acks.at(-1)?.committed === 20 * (message + 1), "the message is settled");
      }
      const { code, ack } = await stream.finish();
      assertEquals([code, ack!.stored + ack!.rejected, ack!.duplicates], [status.OK, 100, 0]);
      stored += ack!.stored;
      rejected += ack!.rejected;
    }
  };
  const names = Array.from({ length: 6 }, (_, i) => `name-${i}`);
  await Promise.all(names.map((name, i) => device([first, second][i % 2]!.port, name)));
  const counts = await countsOf(store);
  assertEquals(Object.keys(counts).length, maxDevices);
  assertEquals(Object.values(counts).reduce((sum, count) => sum + count, 0), stored);
  assertEquals(stored + rejected, sent);
  assertGreater(rejected, 100);
  const sum = (of: (ingest: typeof first) => number) => of(first) + of(second);
  assertEquals(sum(({ counters }) => counters.received), sent);
  assertEquals(sum(({ counters }) => counters.stored), stored);
  assertEquals(sum(({ counters }) => counters.rejected.get(RejectReason.DEVICE_LIMIT)!), rejected);
  assertGreater(sum(({ counters }) => counters.failedFlushes), 10);
});

Deno.test("streamRefusal() with all streams open ends the oldest that has sent nothing for ten seconds", async () => {
  const { ingest, drain } = (() => {
    const model = new ModelIngest(new ModelStore(), seededRandom(1));
    return { ingest: model.ingest, drain: () => model.drain() };
  })();
  const aborted: string[] = [];
  const open = (name: string, ageMs: number, silent: boolean) => {
    const stream: OpenStream = {
      claim: undefined,
      context: { peer: {}, identity: anonymousDevice },
      openedAtMs: performance.now() - ageMs,
      fence: () => {},
      fail: () => {},
      abort: () => {
        aborted.push(name);
        ingest.streams.delete(stream);
        ingest.silentStreams.delete(stream);
      },
    };
    ingest.streams.add(stream);
    if (silent) ingest.silentStreams.add(stream);
  };
  open("has sent", 3_600_000, false);
  open("oldest", 60_000, true);
  open("old", 11_000, true);
  open("young", 9000, true);
  const full = { ...ingest, limits: { ...ingest.limits, maxStreams: 4 } };
  const refuse = () => streamRefusal(full, ingest.accounts.of({}, ""))?.code;
  assertEquals([refuse(), ...aborted], [undefined, "oldest"]);
  assertEquals([refuse(), ...aborted], [undefined, "oldest"]);
  open("new", 0, true);
  assertEquals([refuse(), ...aborted], [undefined, "oldest", "old"]);
  open("newer", 0, true);
  assertEquals([refuse(), ...aborted], ["RESOURCE_EXHAUSTED", "oldest", "old"]);
  await drain();
});
