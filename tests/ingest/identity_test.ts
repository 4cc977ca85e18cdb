/**
 * Who may send: every RPC with every kind of credential, and what ends and what is kept apart by identity.
 */
import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { CONTEXT_KEY } from "../../src/ingest/rpc/bridged_contexts.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { countsOf } from "../support/batches.ts";
import { addTokens, bearer, deviceAuthenticator, signJwt } from "../support/device_auth.ts";
import {
  type CallEnd,
  framed,
  framedBatch,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
  type TestIngest,
} from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { until } from "../support/until.ts";

type TestStore = Store & AsyncDisposable;

async function redisStore(): Promise<TestStore> {
  const redis = await startRedis();
  const store = await openStore(redis);
  return Object.assign(store, {
    async [Symbol.asyncDispose]() {
      await store.close();
      await redis.stop();
    },
  });
}

const stores: readonly [string, () => Promise<TestStore>][] = [
  ["SQLite", temporaryStore],
  ["Redis", redisStore],
];

/** Registers a test on each store and each path. */
function test(title: string, body: (store: TestStore, fastPath: boolean) => Promise<void>): void {
  for (const [name, open] of stores) {
    for (const fastPath of [true, false]) {
      Deno.test(`${title} (${name}, ${fastPath ? "fast path" : "grpc-js"})`, async () => {
        await using store = await open();
        await body(store, fastPath);
      });
    }
  }
}

/** The RPCs that need credentials, with one packet of sensor-1, and those that do not. */
const telemetryRpcs: readonly [method: string, message: Uint8Array][] = [
  ["/TelemetryIngest/StreamPackets", framedPacket(packet("sensor-1"))],
  ["/TelemetryIngest/StreamBatches", framedBatch([packet("sensor-1")])],
];
const healthRpcs = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"];

const uniform = "credentials are missing or wrong: send those that the operator of this Tally gave you";

test(
  "StreamPackets, StreamBatches and Health answer each kind of credential as the table has it",
  async (store, fastPath) => {
    const [right, other, revoked, pattern] = await addTokens(store, [
      "sensor-1",
      "sensor-2",
      "sensor-1",
      "sensor-*",
    ]);
    const [reader] = await addTokens(store, ["grafana"], "reader", ["admin"]);
    await store.revokeTokens([revoked!.record.id]);
    const authenticator = await deviceAuthenticator(store, "token", "jwt");
    await using ingest = await startTestIngest({ store, fastPath, authenticator });
    const jwt = await signJwt("sensor-1");

    /** Credential, how telemetry ends, its message, packets stored and rejected, and what is counted. */
    const table: readonly [string, Record<string, string>, status, string, number, number, string?][] = [
      ["none", {}, status.UNAUTHENTICATED, uniform, 0, 0, "missing"],
      ["empty", { authorization: "" }, status.UNAUTHENTICATED, uniform, 0, 0, "unknown"],
      [
        "another scheme",
        { authorization: `Basic ${right!.token}` },
        status.UNAUTHENTICATED,
        uniform,
        0,
        0,
        "unknown",
      ],
      ["wrong", bearer(`tally_${"A".repeat(43)}`), status.UNAUTHENTICATED, uniform, 0, 0, "unknown"],
      ["malformed", bearer("tally_A"), status.UNAUTHENTICATED, uniform, 0, 0, "jwt_invalid"],
      ["of a reader", bearer(reader!.token), status.UNAUTHENTICATED, uniform, 0, 0, "unknown"],
      ["revoked", bearer(revoked!.token), status.UNAUTHENTICATED, uniform, 0, 0, "unknown"],
      [
        "two tokens",
        { authorization: `Bearer ${right!.token},Bearer ${right!.token}` },
        status.UNAUTHENTICATED,
        uniform,
        0,
        0,
        "unknown",
      ],
      [
        "expired JWT",
        bearer(await signJwt("sensor-1", Date.now() - 60_000)),
        status.UNAUTHENTICATED,
        "credentials have expired: connect again with new ones",
        0,
        0,
        "expired",
      ],
      [
        "JWT of another issuer",
        bearer(`${jwt.slice(0, -8)}AAAAAAAA`),
        status.UNAUTHENTICATED,
        uniform,
        0,
        0,
        "jwt_invalid",
      ],
      ["another device's", bearer(other!.token), status.OK, "", 0, 1],
      ["another device's JWT", bearer(await signJwt("sensor-2")), status.OK, "", 0, 1],
      ["right", bearer(right!.token), status.OK, "", 1, 0],
      [
        "right, as another scheme writes it",
        { authorization: `bearer  ${right!.token}` },
        status.OK,
        "",
        1,
        0,
      ],
      ["right pattern", bearer(pattern!.token), status.OK, "", 1, 0],
      ["right JWT", bearer(jwt), status.OK, "", 1, 0],
    ];
    let counted = 0;
    for (const [what, headers, code, details, stored, rejected, failure] of table) {
      // Once with a lookup, and once from memory; compressed calls are the fast path's on both.
      for (const repeat of [1, 2, 3]) {
        for (const [method, message] of telemetryRpcs) {
          const before = ingest.counters.authFailures.get(failure as "missing") ?? 0;
          const encoding = repeat === 3 ? { "grpc-encoding": "gzip" } : undefined;
          await using call = new RawCall(ingest.port, method, { ...headers, ...encoding });
          const end = await call.finish(message);
          const where = `${what}, ${method}, ${repeat}`;
          // grpc-js adds a message to OK.
          assertEquals([end.code, code === status.OK ? "" : end.details], [code, details], where);
          assertEquals([end.ack?.stored ?? 0, end.ack?.rejected ?? 0], [stored, rejected], where);
          if (rejected > 0) {
            assertEquals(
              end.ack?.rejections,
              [{ reason: RejectReason.DEVICE_NOT_ALLOWED, packets: 1 }],
              where,
            );
          }
          if (failure !== undefined) {
            assertEquals(ingest.counters.authFailures.get(failure as "missing"), before + 1, where);
          }
          counted += stored;
        }
      }
      for (const method of healthRpcs) {
        await using call = new RawCall(ingest.port, method, headers);
        assertEquals((await call.finish(framed(new Uint8Array()))).code, status.OK, `${what}, ${method}`);
      }
      await using call = new RawCall(ingest.port, "/TelemetryIngest/Nothing", headers);
      assertEquals((await call.finish()).code, status.UNIMPLEMENTED, what);
    }
    assertEquals(await countsOf(store), { "sensor-1": counted });
    assertEquals(ingest.counters.openStreams, 0);
  },
);

test("Health.Watch needs no credentials", async (store, fastPath) => {
  const authenticator = await deviceAuthenticator(store, "token");
  await using ingest = await startTestIngest({ store, fastPath, authenticator });
  await using call = new RawCall(ingest.port, "/grpc.health.v1.Health/Watch");
  call.stream.end(framed(new Uint8Array()));
  await until(() => call.acks.length > 0, "a status arrives");
});

test(
  "StreamBatches accepts the devices of a token's pattern, in one stream with others",
  async (store, fastPath) => {
    const [token] = await addTokens(store, ["factory-7/*"]);
    const authenticator = await deviceAuthenticator(store, "token");
    await using ingest = await startTestIngest({ store, fastPath, authenticator });
    await using call = new RawCall(ingest.port, "StreamBatches", bearer(token!.token));
    const ids = ["factory-7/a", "factory-7/b", "factory-70", "factory-7/a", "x", "", "factory-7/"];
    const end = await call.finish(framedBatch(ids.map((id) => packet(id))));
    assertEquals([end.code, end.ack?.stored, end.ack?.rejected], [status.OK, 4, 3]);
    assertEquals(Object.fromEntries(end.ack!.rejections.map(({ reason, packets }) => [reason, packets])), {
      [RejectReason.DEVICE_NOT_ALLOWED]: 2,
      [RejectReason.DEVICE_ID_EMPTY]: 1,
    });
    assertEquals(await countsOf(store), { "factory-7/a": 2, "factory-7/b": 1, "factory-7/": 1 });
  },
);

Deno.test("BridgedContexts: a device cannot name the context of another call", async () => {
  await using store = await temporaryStore();
  const [mine, other] = await addTokens(store, ["sensor-1", "sensor-2"]);
  const authenticator = await deviceAuthenticator(store, "token");
  await using ingest = await startTestIngest({ store, fastPath: false, authenticator });
  await using victim = new RawCall(ingest.port, "StreamBatches", bearer(other!.token));
  await victim.send(framedBatch([packet("sensor-2")]));
  await until(() => victim.acks.length > 0, "the other device's call is open");
  for (const key of ["1", "2", "x"]) {
    await using call = new RawCall(ingest.port, "StreamBatches", {
      ...bearer(mine!.token),
      [CONTEXT_KEY]: key,
    });
    const end = await call.finish(framedBatch([packet("sensor-1"), packet("sensor-2")]));
    assertEquals([end.code, end.ack?.stored, end.ack?.rejected], [status.OK, 1, 1], key);
  }
});

/** A call of a session that stays open. */
function openSession(ingest: TestIngest, session: string, token: string | undefined, offset = 0): RawCall {
  return new RawCall(ingest.port, "StreamBatches", {
    ...token === undefined ? {} : bearer(token),
    "telemetry-session": session,
    "telemetry-offset": String(offset),
  });
}

test(
  "DeviceStream.claimSession(): another identity cannot claim a session, fence its stream or read its offset",
  async (store, fastPath) => {
    const [mine, again, other] = await addTokens(store, ["*", "*", "sensor-2"]);
    const authenticator = await deviceAuthenticator(store, "token");
    await using ingest = await startTestIngest({ store, fastPath, authenticator });
    await using first = openSession(ingest, "s", mine!.token);
    assertEquals(await first.committed, "0");
    await first.send(framedBatch([packet(), packet()]));
    await until(() => first.acks.at(-1)?.committed === 2, "two packets are settled");

    await using stranger = openSession(ingest, "s", other!.token);
    assertEquals(await stranger.committed, "0", "it has a session of its own under that name");
    await using guess = openSession(ingest, "sensor-2 s", other!.token);
    assertMatch((await guess.end).details, /^telemetry-session has/);
    assertEquals((await stranger.finish(framedBatch([packet("sensor-2")]))).ack?.committed, 1);

    await first.send(framedBatch([packet()]));
    await until(() => first.acks.at(-1)?.committed === 3, "the first stream goes on");
    // A new token for the same devices is the same owner.
    await using second = openSession(ingest, "s", again!.token);
    assertEquals(await second.committed, "3");
    assertEquals((await first.end).code, status.ABORTED);
    assertEquals(await countsOf(store), { "sensor-1": 3, "sensor-2": 1 });
  },
);

test(
  "DeviceStream.claimSession() continues sessions that began without credentials when they are required",
  async (store, fastPath) => {
    const [token] = await addTokens(store, ["sensor-1"]);
    await using before = await startTestIngest({ store, fastPath });
    await using anonymous = openSession(before, "s", undefined);
    await anonymous.send(framedBatch([packet(), packet(), packet()]));
    await until(() => anonymous.acks.at(-1)?.committed === 3, "three packets are settled");

    const authenticator = await deviceAuthenticator(store, "token");
    await using after = await startTestIngest({ store, fastPath, authenticator });
    // The device had no Ack: it would send them again.
    await using known = openSession(after, "s", token!.token, 0);
    assertEquals(await known.committed, "3");
    // The stream of the other process is fenced, as by any newer claim.
    await anonymous.send(framedBatch([packet()]));
    assertEquals((await anonymous.end).code, status.ABORTED);
    const end = await known.finish(framedBatch(Array.from({ length: 5 }, () => packet())));
    assertEquals([end.code, end.ack?.stored, end.ack?.duplicates], [status.OK, 2, 3]);
    assertEquals(await countsOf(store), { "sensor-1": 5 });
  },
);

/** Opens calls on connections of ten calls each, and waits until each has stored a packet. */
async function openCalls(ingest: TestIngest, tokens: readonly string[], device: string): Promise<RawCall[]> {
  const calls: RawCall[] = [];
  for (const [index, token] of tokens.entries()) {
    const connection = index % 10 === 0 ? undefined : calls[index - index % 10];
    calls.push(new RawCall(ingest.port, "StreamBatches", bearer(token), connection));
  }
  for (const call of calls) await call.send(framedBatch([packet(device)]));
  await until(() => calls.every((call) => call.acks.length > 0), "all have an Ack", 30);
  return calls;
}

test(
  "watchIdentities() ends the 100 streams of a revoked token within 5 s, settled, and no other",
  async (store, fastPath) => {
    const [bad, good] = await addTokens(store, ["bad-1", "good-1"]);
    const [one, two] = [await deviceAuthenticator(store, "token"), await deviceAuthenticator(store, "token")];
    await using ingest = await startTestIngest({ store, fastPath, authenticator: one });
    await using second = await startTestIngest({ store, fastPath, authenticator: two });
    const ingests = [ingest, second];
    const opened = await Promise.all(ingests.flatMap((ingest) => [
      openCalls(ingest, Array(50).fill(bad!.token), "bad-1"),
      openCalls(ingest, Array(50).fill(good!.token), "good-1"),
    ]));
    const ending = [...opened[0]!, ...opened[2]!], staying = [...opened[1]!, ...opened[3]!];
    const endsMs: number[] = [];
    let ended = 0;
    for (const call of staying) call.end.then(() => ended++);
    const revokedAtMs = performance.now();
    await store.revokeTokens([bad!.record.id]);
    // What they sent before the end is settled.
    for (const call of ending) await call.send(framedBatch([packet("bad-1")]));
    const ends: CallEnd[] = await Promise.all(ending.map(async (call) => {
      const end = await call.end;
      endsMs.push(performance.now() - revokedAtMs);
      return end;
    }));
    assert(Math.max(...endsMs) < 5000, `the last ended after ${Math.max(...endsMs)} ms`);
    for (const end of ends) {
      assertEquals(end.code, status.UNAUTHENTICATED);
      assertStringIncludes(end.details, "credentials were revoked");
      assertEquals([end.ack?.stored, end.committed], [2, "2"]);
    }
    await using again = new RawCall(ingest.port, "StreamBatches", bearer(bad!.token));
    assertEquals((await again.finish()).code, status.UNAUTHENTICATED);
    for (const call of staying) await call.send(framedBatch([packet("good-1")]));
    await until(() => staying.every((call) => call.acks.at(-1)?.committed === 2), "the others go on");
    assertEquals(ended, 0);
    assertEquals(ingests.map(({ counters }) => counters.authFailures.get("revoked")), [50, 50]);
    for (const call of staying) assertEquals((await call.finish()).code, status.OK);
    assertEquals(await countsOf(store), { "bad-1": 200, "good-1": 200 });
  },
);

test(
  "watchIdentities() ends a stream with its JWT, and stores the use of a token that has a stream",
  async (store, fastPath) => {
    const [token] = await addTokens(store, ["sensor-1"]);
    const authenticator = await deviceAuthenticator(store, "token", "jwt");
    await using ingest = await startTestIngest({ store, fastPath, authenticator });
    // The issuer's clock may be off by five seconds.
    const [expiring] = await openCalls(ingest, [await signJwt("sensor-1", Date.now() - 4000)], "sensor-1");
    await using lasting = new RawCall(ingest.port, "StreamBatches", bearer(token!.token));
    await lasting.send(framedBatch([packet()]));
    const end = await expiring!.end;
    assertEquals([end.code, end.ack?.stored], [status.UNAUTHENTICATED, 1]);
    assertStringIncludes(end.details, "credentials have expired");
    await until(
      async () => (await store.tokens("device", "", 1))[0]!.lastUsedMs > 0,
      "the last use is stored",
    );
    assertEquals((await lasting.finish()).code, status.OK);
  },
);

Deno.test("CallerCheck.identify(): while the store fails, new tokens are UNAVAILABLE and known ones are served", async () => {
  await using store = await temporaryStore();
  const [known, other] = await addTokens(store, ["sensor-1", "sensor-2"]);
  let fails = false, lookups = 0;
  const failing = new Proxy<Store>(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (name !== "tokensByHash" && name !== "credentialsVersion") {
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (...args: unknown[]) => {
        if (name === "tokensByHash") lookups++;
        return fails ? Promise.reject(new StoreError("the test refuses it")) : value.apply(target, args);
      };
    },
  });
  const authenticator = await deviceAuthenticator(failing, "token");
  await using ingest = await startTestIngest({ store, authenticator });
  const send = async (token: string, id: string) => {
    await using call = new RawCall(ingest.port, "StreamPackets", bearer(token));
    return (await call.finish(framedPacket(packet(id)))).code;
  };
  assertEquals(await send(known!.token, "sensor-1"), status.OK);
  fails = true;
  assertEquals(await send(other!.token, "sensor-2"), status.UNAVAILABLE);
  assertEquals(await send(known!.token, "sensor-1"), status.OK);
  fails = false;
  assertEquals(await send(other!.token, "sensor-2"), status.OK);

  // Unknown tokens that are presented at once, and again: few lookups.
  const wrong = Array.from({ length: 200 }, (_, i) => `tally_${String(i).padStart(43, "A")}`);
  lookups = 0;
  await using first = new RawCall(ingest.port, "StreamPackets", bearer(wrong[0]!));
  const calls = wrong.slice(1).map((token) =>
    new RawCall(ingest.port, "StreamPackets", bearer(token), first)
  );
  for (const call of [first, ...calls]) assertEquals((await call.end).code, status.UNAUTHENTICATED);
  assert(lookups <= 20, `${lookups} lookups`);
  const before = lookups;
  assertEquals(await send(wrong[7]!, "sensor-1"), status.UNAUTHENTICATED);
  assertEquals(lookups, before, "it is unknown for some time");
});

Deno.test("AwaitedCall: packets wait while the caller is looked up, and a cancelled call leaves nothing", async () => {
  await using store = await temporaryStore();
  const [token] = await addTokens(store, ["sensor-1"]);
  let release = () => {};
  const held = new Proxy<Store>(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (name !== "tokensByHash") return typeof value === "function" ? value.bind(target) : value;
      return async (...args: unknown[]) => {
        await new Promise<void>((resolve) => release = resolve);
        return await value.apply(target, args);
      };
    },
  });
  for (const fastPath of [true, false]) {
    const authenticator = await deviceAuthenticator(held, "token");
    await using ingest = await startTestIngest({ store, authenticator, fastPath });
    const large = framedBatch(Array.from({ length: 500 }, () => packet("sensor-1", "x".repeat(100))));
    release = () => {};
    await using call = new RawCall(ingest.port, "StreamBatches", bearer(token!.token));
    const end = call.finish(large, large, large);
    await using gone = new RawCall(ingest.port, "StreamBatches", bearer(token!.token), call);
    await gone.send(large);
    await using compressed = new RawCall(ingest.port, "StreamBatches", {
      ...bearer(token!.token),
      "grpc-encoding": "gzip",
    }, call);
    const plain = compressed.finish(framedBatch([packet("sensor-1")]));
    await until(() => ingest.counters.http2.bridgedCalls > 0 || fastPath, "it has arrived");
    gone.cancel();
    await gone.end;
    // Frames are processed in order: when this call has ended, the cancellation has arrived.
    await using health = new RawCall(ingest.port, "/grpc.health.v1.Health/Check", {}, call);
    assertEquals((await health.finish(new Uint8Array(5))).code, status.OK);
    assertEquals(ingest.counters.received, 0);
    await until(() => {
      release();
      return ingest.counters.received >= 1501;
    }, "the rest is read");
    assertEquals([(await end).code, (await end).ack?.stored], [status.OK, 1500]);
    assertEquals((await plain).ack?.stored, 1);
    await until(() => ingest.counters.openStreams === 0, "no stream is left");
    assertEquals(ingest.counters.received, 1501);
  }
});
