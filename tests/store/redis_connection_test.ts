/**
 * How the Redis store connects: databases, clusters, TLS, users with few permissions, and what it logs.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { getLogger } from "@logtape/logtape";

import type { InstanceReport } from "../../src/metrics/ingest_metrics.ts";
import { startLogging, stopLogging } from "../../src/runtime/log.ts";
import type { RedisStoreOptions } from "../../src/store/redis/redis_client.ts";
import { openRedisStore } from "../../src/store/redis/redis_store.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { advance, batch, countsOf, delta, now } from "../support/batches.ts";
import { Program } from "../support/program.ts";
import { documentedPermissions, RedisServer, startRedis } from "../support/redis_server.ts";
import { untilStored } from "../support/redis_store.ts";
import { until } from "../support/until.ts";
import { freePort } from "../support/free_port.ts";

Deno.test("openRedisStore() refuses a database that the server does not have, and writes nothing elsewhere", async () => {
  await using server = await startRedis();
  const error = await assertRejects(() => open({ url: `${server.url}/99` }), StoreError, "SELECT 99");
  assertStringIncludes(error.message, "out of range");
  assertEquals(await server.call("DBSIZE"), 0);
});

Deno.test("openRedisStore() refuses a database that the user may not select", async () => {
  await using server = await startRedis();
  await server.call("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-select");
  const url = `redis://u:pw@127.0.0.1:${server.port}`;
  await assertRejects(() => open({ url: `${url}/3` }), StoreError, "SELECT 3");
  await using store = await open({ url });
  await store.ping();
});

Deno.test("RedisStore uses only its database, also when the server restarts without it", async () => {
  await using server = await startRedis();
  await using store = await open({ url: `${server.url}/7` });
  assertStringIncludes(store.description, "database 7");
  await store.apply(batch(1, { devices: [delta("a", 1)] }));
  assertEquals(await countsOf(store), { a: 1 });
  assertMatch(String(await server.call("INFO", "keyspace")), /^# Keyspace\r\ndb7:[^\n]*\n$/);

  await server.kill9();
  await using smaller = new RedisServer(
    server.port,
    await Deno.makeTempDir({ prefix: "tally-redis-" }),
    { databases: "4" },
  );
  await smaller.start();
  const second = batch(2, { devices: [delta("a", 1)] });
  await until(
    () => store.apply(second).then(() => false, (error) => /SELECT 7.*out of range/.test(error.message)),
    "it names the refusal",
  );
  assertEquals(await smaller.call("DBSIZE"), 0);
  await smaller.kill9();
  await server.start();
  assertEquals(await untilStored(() => store.apply(second)), []);
});

Deno.test("openRedisStore() refuses a node of a cluster", async () => {
  await using server = await startRedis({ "cluster-enabled": "yes" });
  await assertRejects(() => open({ url: server.url }), StoreError, "it is part of a Redis Cluster");
  // A user that may not read INFO: the replies show it.
  await server.call("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-info");
  const url = `redis://u:pw@127.0.0.1:${server.port}`;
  await assertRejects(() => open({ url }), StoreError, "it is part of a Redis Cluster");
});

Deno.test("openRedisStore() with tlsCa trusts certificates of that authority only", async () => {
  const dir = await Deno.makeTempDir({ prefix: "tally-tls-" });
  try {
    await makeCertificates(dir);
    const tlsPort = freePort();
    await using server = await startRedis({
      "tls-port": `${tlsPort}`,
      "tls-cert-file": `${dir}/redis.crt`,
      "tls-key-file": `${dir}/redis.key`,
      "tls-ca-cert-file": `${dir}/ca.crt`,
      "tls-auth-clients": "no",
    });
    const tlsCa = await Deno.readTextFile(`${dir}/ca.crt`);
    for (const host of ["127.0.0.1", "localhost"]) {
      await using store = await open({ url: `rediss://${host}:${tlsPort}`, tlsCa });
      await store.ping();
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
    }
    assertEquals(await server.call("HGET", "device_metrics", "a"), "1");

    for (const other of [undefined, await Deno.readTextFile(`${dir}/other.crt`)]) {
      await using store = await open({ url: `rediss://127.0.0.1:${tlsPort}`, tlsCa: other });
      const { message } = await assertRejects(() => store.ping(), StoreError, "there is no connection");
      assertMatch(message, /certificate|unknown issuer/i);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("openRedisStore() with rediss+cluster:// encrypts all connections, and trusts certificates of tlsCa only", async () => {
  const dir = await Deno.makeTempDir({ prefix: "tally-tls-" });
  try {
    await makeCertificates(dir);
    const tlsPort = freePort();
    // A node alone, which has all slots and does not know its own address.
    await using server = await startRedis({
      "cluster-enabled": "yes",
      "tls-port": `${tlsPort}`,
      "tls-cluster": "yes",
      "tls-cert-file": `${dir}/redis.crt`,
      "tls-key-file": `${dir}/redis.key`,
      "tls-ca-cert-file": `${dir}/ca.crt`,
      "tls-auth-clients": "no",
    });
    await server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16_383);
    await until(
      async () => String(await server.call("CLUSTER", "INFO")).includes("cluster_state:ok"),
      "the cluster is up",
    );
    await server.call("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all");
    const url = `rediss+cluster://u:pw@localhost:${tlsPort}`;
    {
      await using store = await open({ url, tlsCa: await Deno.readTextFile(`${dir}/ca.crt`) });
      await store.apply(batch(1, { devices: [delta("a", 1)] }));
      const clients = String(await server.call("CLIENT", "LIST")).split("\n");
      // The one for reports has no name.
      const ofUser = clients.filter((line) => line.includes("user=u")).map((line) =>
        /name=(\S*)/.exec(line)?.[1]
      );
      assertEquals(ofUser.toSorted(), ["", "tally-reads", "tally-writes"]);
    }
    await using store = await open({ url, tlsCa: await Deno.readTextFile(`${dir}/other.crt`) });
    const { message } = await assertRejects(() => store.ping(), StoreError, "there is no connection");
    assertMatch(message, /certificate|unknown issuer/i);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("main reads TALLY_REDIS_TLS_CA, and names a file that it cannot use", async () => {
  const data = new URL("../../data", import.meta.url).pathname;
  await Deno.mkdir(data, { recursive: true });
  const dir = await Deno.makeTempDir({ dir: data, prefix: "test-tls-" });
  try {
    await makeCertificates(dir);
    const tlsPort = freePort();
    await using _server = await startRedis({
      "tls-port": `${tlsPort}`,
      "tls-cert-file": `${dir}/redis.crt`,
      "tls-key-file": `${dir}/redis.key`,
      "tls-ca-cert-file": `${dir}/ca.crt`,
      "tls-auth-clients": "no",
    });
    const env = { REDIS_URL: `rediss://localhost:${tlsPort}` };
    {
      await using program = await Program.start([], { ...env, TALLY_REDIS_TLS_CA: `${dir}/ca.crt` });
      const { port } = await program.line("api listening");
      await until(async () => {
        const { status, body } = await fetch(`http://127.0.0.1:${port}/readyz`);
        await body?.cancel();
        return status === 200;
      }, "it is ready");
      program.signal("SIGTERM");
      assertEquals((await program.end()).code, 0);
    }
    for (
      const [file, reason] of [
        [`${dir}/none.crt`, "Cannot read TALLY_REDIS_TLS_CA"],
        [`${dir}/redis.key`, "found no certificate in"],
        ["/etc/hostname", "--allow-read=./data,./src,/etc/hostname"],
      ] as const
    ) {
      await using program = await Program.start([], { ...env, TALLY_REDIS_TLS_CA: file });
      assertStringIncludes(String((await program.line("failed"))["reason"]), reason);
      assertEquals((await program.end()).code, 1);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("RedisStore: a user with the permissions of OPERATIONS.md can call every method", async () => {
  await using server = await startRedis();
  await server.call("ACL", "SETUSER", "tally", ...await documentedPermissions(), ">secret");
  const url = `redis://tally:secret@127.0.0.1:${server.port}`;
  for (const ackAfter of [{ kind: "stored" }, { kind: "replicated", replicas: 1 }] as const) {
    await using store = await open({ url, ackAfter });
    await useEverything(store, ackAfter.kind === "stored");
  }
  assertMatch(String(await server.call("CLIENT", "LIST")), /user=default/);
  assertEquals(await server.call("ACL", "LOG"), []);
});

Deno.test("RedisStore: no log line of ioredis appears, for users without INFO and a needless password", async () => {
  await using server = await startRedis();
  await server.call("ACL", "SETUSER", "u", "on", ">hunter2", "~*", "+@all", "-info", "-client", "-hello");
  for (const user of ["u:hunter2", "default:hunter2", ":hunter2"]) {
    await using program = await Program.start([], { REDIS_URL: `redis://${user}@127.0.0.1:${server.port}` });
    const { port } = await program.line("api listening");
    await program.line("ingest listening");
    const { status, body } = await fetch(`http://127.0.0.1:${port}/readyz`);
    await body?.cancel();
    assertEquals(status, 200);
    program.signal("SIGTERM");
    const { code, stderr } = await program.end();
    const foreign = stderr.split("\n").filter((line) =>
      line !== "" && !line.includes("experimental feature")
    );
    assertEquals({ code, foreign }, { code: 0, foreign: [] });
    assert(!(JSON.stringify(program.seen) + stderr).includes("hunter2"));
  }
});

Deno.test("RedisStore reports a wrong password in log and errors, without the password", async () => {
  await using server = await startRedis({ requirepass: "right" });
  const lines = await logged(async (log) => {
    for (const [user, found] of [[":hunter2@", "WRONGPASS"], ["", "NOAUTH"]]) {
      await using store = await open({ url: `redis://${user}127.0.0.1:${server.port}`, log });
      const error = await assertRejects(() => store.ping(), StoreError, found);
      assert(!Deno.inspect(error).includes("hunter2"), Deno.inspect(error));
    }
    const special = "#/?@%: ü";
    await server.call("CONFIG", "SET", "requirepass", special);
    await using store = await open({
      url: `redis://default:${encodeURIComponent(special)}@127.0.0.1:${server.port}`,
      log,
    });
    await store.ping();
  });
  assert(!lines.join("").includes("hunter2"), lines.join(""));
  assertMatch(lines[0]!, /no connection to Redis.*WRONGPASS/);
});

Deno.test("RedisStore logs once that the server is read-only, and once that it accepts writes", async () => {
  await using server = await startRedis();
  const lines = await logged(async (log) => {
    await using store = await open({ url: server.url, log });
    await server.call("REPLICAOF", "127.0.0.1", "1");
    let rejections = 0, looks = 0;
    const before = await connectionsOf(server);
    await until(
      async () => {
        await store.ping().catch(() => rejections++);
        // Each look is a connection too.
        return await connectionsOf(server) - ++looks >= before + 4;
      },
      "the store has connected again several times",
      30,
    );
    assert(rejections >= 4);
    await server.call("REPLICAOF", "NO", "ONE");
    await untilStored(() => store.ping());
  });
  const messages = lines.map((line) => JSON.parse(line).message as string);
  const [first, second, ...others] = messages.map((text) =>
    text.replace(/ at .* for /, " for ").replace(/"?127[^ ]*/, "it")
  );
  // Which of the two is connected first is left to Redis.
  assertEquals([first, second].sort(), ['connected to Redis for "reads"', 'connected to Redis for "writes"']);
  assertEquals(others, [
    "Redis at it is a replica that accepts no writes, reconnecting until it does",
    "Redis at it accepts writes again",
  ]);
});

/** Connections that `server` has accepted since its start. */
async function connectionsOf(server: RedisServer): Promise<number> {
  return Number(/total_connections_received:(\d+)/.exec(String(await server.call("INFO", "stats")))![1]);
}

Deno.test("RedisStore: a flapping connection does not fill the log", async () => {
  await using server = await startRedis();
  const lines = await logged(async (log) => {
    await using store = await open({ url: server.url, log });
    for (let i = 0; i < 30; i++) {
      await server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await untilStored(() => store.ping());
      await server.call("CLIENT", "PAUSE", 1, "ALL");
    }
  });
  assert(lines.length <= 12, lines.join(""));
});

Deno.test("RedisStore sends the text of a script once, then its hash, and the text again when the server lost it", async () => {
  await using server = await startRedis();
  await using store = await open({ url: server.url });
  let sequence = 0;
  const applies = async (times: number) => {
    await server.call("CONFIG", "RESETSTAT");
    for (let i = 0; i < times; i++) await store.apply(batch(++sequence, { devices: [delta("a", 1)] }));
    const stats = String(await server.call("INFO", "commandstats"));
    return ["eval", "evalsha"].map((name) =>
      Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
    );
  };
  await applies(1);
  assertEquals(await applies(10), [0, 10]);
  await server.call("SCRIPT", "FLUSH");
  assertEquals(await applies(10), [1, 10]);
  assertEquals(await countsOf(store), { a: 21 });
});

Deno.test("RedisStore sends scripts as text to a user without EVALSHA", async () => {
  await using server = await startRedis();
  await using store = await open({ url: server.url });
  await store.apply(batch(1, { devices: [delta("a", 1)] }));
  await server.call("ACL", "SETUSER", "default", "-evalsha");
  for (const sequence of [2, 3]) await store.apply(batch(sequence, { devices: [delta("a", 1)] }));
  await server.call("ACL", "SETUSER", "default", "+evalsha", "-eval");
  await assertRejects(() => store.apply(batch(4, { devices: [delta("a", 1)] })), StoreError, "'eval'");
  await server.call("ACL", "SETUSER", "default", "+eval");
  await store.apply(batch(4, { devices: [delta("a", 1)] }));
  assertEquals(await countsOf(store), { a: 4 });
});

Deno.test("GET /fleet and /metrics report an eviction policy while it is set", async () => {
  await using server = await startRedis({ maxmemory: "100mb", "maxmemory-policy": "allkeys-lru" });
  await using program = await Program.start([], { REDIS_URL: server.url });
  const { port } = await program.line("api listening");
  const url = `http://127.0.0.1:${port}`;
  const found = async () => {
    const { store } = await (await fetch(`${url}/fleet`)).json();
    const metrics = await (await fetch(`${url}/metrics`, { headers: { accept: "text/plain" } })).text();
    return [store.eviction_policy, /^tally_store_may_evict.*$/m.exec(metrics)?.[0]];
  };
  assertEquals(await found(), ["allkeys-lru", 'tally_store_may_evict{policy="allkeys-lru"} 1']);
  for (
    const [policy, expected] of [
      ["noeviction", [null, 'tally_store_may_evict{policy="noeviction"} 0']],
      ["volatile-ttl", ["volatile-ttl", 'tally_store_may_evict{policy="volatile-ttl"} 1']],
    ] as const
  ) {
    await server.call("CONFIG", "SET", "maxmemory-policy", policy);
    await until(
      async () => JSON.stringify(await found()) === JSON.stringify(expected),
      `it reports ${policy}`,
    );
  }
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

/** Calls every method that reaches Redis. */
async function useEverything(store: Store, isStored: boolean): Promise<void> {
  await store.ping();
  const session = `s ${isStored}`;
  const devices = [delta("a", 1, 1000, "short"), delta("b", 1, 1000, "long".repeat(100))];
  let first = { ...batch(1, { devices }), producer: session };
  if (isStored) {
    const { epoch } = await store.claimSession(session, 0, now);
    first = { ...first, sessions: [advance(session, epoch, 0, 2)] };
    assertEquals(await store.apply(first), []);
  } else {
    await assertRejects(() => store.claimSession(session, 0, now), StoreError, "0 of 1 replicas");
    await assertRejects(() => store.apply(first), StoreError, "0 of 1 replicas");
  }
  const { version } = await store.changes();
  const again = { ...first, producer: `${session} 2`, sessions: [], receivedAtMs: now + 2 * 3_600_000 };
  const short = { ...again, sequence: 2, devices: [delta("b", 1, 2000, "short")] };
  for (const batch of [first, again, short]) await store.apply(batch).catch(() => {});
  await store.changes(version);
  await countsOf(store);
  await store.summaries(["a", "b"]);
  await store.device("a");
  await store.payloads(["a", "b"], 10);
  await store.history("a", now);
  await store.fleetHistory(now);
  await store.trimFleetHistory(now);
  await store.status();
  await store.markOffline(["a", "b"], now + 10 * 3_600_000, now);
  await store.events(undefined, 10);
  await store.events(0, 10);
  await store.claimDelivery("me", 60_000, now);
  await store.commitDelivery("me", 1, now);
  const report = { instance: "i", host: "h", ingestAddress: "a", worker: 0, reportedMs: 1 } as InstanceReport;
  await store.reportInstance(report);
  await store.reportInstance({ ...report, instance: "j", reportedMs: 100_000 });
  await store.instances(now);
  await store.removeInstance("j");
  await store.remove("a");
  await store.removedPackets();
}

async function open(
  options: Partial<RedisStoreOptions> & { url: string },
): Promise<Store & AsyncDisposable> {
  const store = await openRedisStore({
    ackAfter: { kind: "stored" },
    commandTimeoutMs: 2000,
    log: getLogger(["tally", "test"]),
    ...options,
  });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** The lines that `body` logs. */
async function logged(body: (log: RedisStoreOptions["log"]) => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  const log = startLogging({ level: "debug", format: "json", write: (line) => lines.push(line) });
  try {
    await body(log);
  } finally {
    stopLogging();
  }
  return lines;
}

/** An authority, a certificate of it for this machine, and another authority. */
async function makeCertificates(dir: string): Promise<void> {
  await openssl(
    dir,
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
  );
  await openssl(
    dir,
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other -keyout other.key -out other.crt",
  );
  await openssl(
    dir,
    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=redis -keyout redis.key -out redis.csr",
  );
  await Deno.writeTextFile(`${dir}/names`, "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  await openssl(
    dir,
    "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out redis.crt",
  );
}

async function openssl(dir: string, args: string): Promise<void> {
  const command = new Deno.Command("openssl", { args: args.split(" "), cwd: dir, stdin: "null" });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`openssl ${args}: ${new TextDecoder().decode(stderr)}`);
}
