/** The ops port: metrics and health of one process. */
import { connect } from "node:net";

import { getLogger } from "@logtape/logtape";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { OpsPort } from "../../src/ops_port.ts";
import { parseConfig } from "../../src/config/read_config.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { framedBatch, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { Program } from "../support/program.ts";
import { promtool } from "../support/promtool.ts";
import { PrometheusServer } from "../support/prometheus_server.ts";
import { startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const log = getLogger(["tally", "test"]);
const reserve = { descriptors: 1, count: () => 1 };

/** An ops port of its own. */
async function startOps(args: readonly string[] = []) {
  const { config } = parseConfig(["--ops-port", "0", ...args], () => undefined);
  const lines: { port?: number }[] = [];
  const noting = {
    ...log,
    getChild: () => log,
    info: (_: string, properties: { port: number }) => void lines.push(properties),
  };
  const ops = await OpsPort.start(config, reserve, noting as unknown as typeof log);
  const url = `http://127.0.0.1:${lines[0]!.port}`;
  return { ops: ops!, url, [Symbol.asyncDispose]: () => ops!.close(1000) };
}

async function get(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function scrape(url: string): Promise<string> {
  const { status, text, headers } = await get(`${url}/metrics`);
  assertEquals([status, headers.get("content-type")], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assertEquals(await promtool(text), { code: 0, output: "" });
  return text;
}

/** The sum of a family's samples whose labels contain `label`. */
function sumOf(text: string, family: string, label = ""): number {
  const samples = text.split("\n").filter((line) =>
    line.startsWith(family) && /^[{ ]/.test(line.slice(family.length))
  );
  assert(samples.length > 0, `${family} is missing`);
  return samples.filter((line) => line.includes(label)).reduce(
    (sum, line) => sum + Number(line.split(" ").at(-1)),
    0,
  );
}

const outcomes = ["stored", "duplicate", "fenced", "rejected"];

Deno.test("GET /metrics of an ingest: under load with rejects, duplicates, fenced and failed calls, each packet is in exactly one outcome", async () => {
  await using store = await temporaryStore();
  let failures = 0;
  const held = Promise.withResolvers<void>();
  const failing = Object.assign(Object.create(store), {
    async apply(batch: Parameters<Store["apply"]>[0]) {
      await held.promise;
      if (++failures % 5 === 0) throw new StoreError("injected");
      return await store.apply(batch);
    },
  }) as Store;
  await using ops = await startOps();
  await using ingest = await startTestIngest({
    store: ops.ops.measured(failing),
    flushIntervalMs: 20,
    maxPayloadBytes: 8,
    queueMaxPackets: 500,
  });
  ops.ops.addIngest(ingest);
  ops.ops.started();

  const ids = ["a", "b", "", "c", "x".repeat(200)];
  const payloads = ["1234", "123456789"];
  let sent = 0;
  const batch = (round: number) => {
    const packets = Array.from({ length: 20 }, (_, i) => {
      const timestamp = (round + i) % 7 === 0 ? Date.now() + 1e12 : Date.now();
      return packet(ids[(round + i) % 5], payloads[(round * i) % 2], timestamp);
    });
    sent += packets.length;
    return framedBatch(packets);
  };
  // A stream is fenced while its packets wait for the store, which is busy with another batch.
  const busy = new RawCall(ingest.port, "StreamBatches");
  await busy.send(batch(0));
  await until(() => ingest.counters.received === 20, "the store is busy");
  const older = RawCall.session(ingest.port, "fenced", 0, "StreamBatches");
  await older.send(batch(1), batch(2));
  await until(() => ingest.counters.received === 60, "packets wait");
  const newer = RawCall.session(ingest.port, "fenced", 0, "StreamBatches");
  await newer.send(batch(3));
  assertEquals(await newer.committed, "0");
  held.resolve();
  await Promise.all([busy, older, newer].map((call) => call.finish()));

  // Each session is claimed again and again from its first packet, while packets of the stream before are in the queue:
  // those are fenced, and packets that are stored come again as duplicates.
  const devices = Array.from({ length: 12 }, async (_, device) => {
    const calls: RawCall[] = [];
    for (let round = 0; round < 6; round++) {
      const call = RawCall.session(ingest.port, `session-${device}`, 0, "StreamBatches");
      calls.push(call);
      for (let i = 0; i < 5; i++) await call.send(batch(round + i));
      await call.committed;
      for (let i = 0; i < 5; i++) await call.send(batch(round + i));
    }
    await Promise.all(calls.map((call) => call.finish()));
  });
  await Promise.all(devices);
  await until(async () => {
    const text = await scrape(ops.url);
    return sumOf(text, "tally_ingest_packets_total") === sumOf(text, "tally_ingest_packets_received_total");
  }, "all packets that were read have an outcome");

  const text = await scrape(ops.url);
  const byOutcome = outcomes.map((outcome) =>
    sumOf(text, "tally_ingest_packets_total", `outcome="${outcome}"`)
  );
  assertEquals(byOutcome.reduce((sum, packets) => sum + packets), ingest.counters.received);
  assert(ingest.counters.received <= sent);
  for (const [i, packets] of byOutcome.entries()) {
    assert(packets > 0, `no packet is ${outcomes[i]}: ${byOutcome}`);
  }
  for (
    const reason of ["PAYLOAD_TOO_LARGE", "DEVICE_ID_EMPTY", "DEVICE_ID_TOO_LONG", "TIMESTAMP_IN_FUTURE"]
  ) {
    assert(reason in RejectReason, reason);
    assert(sumOf(text, "tally_ingest_packets_total", `outcome="rejected",reason="${reason}"`) > 0, reason);
  }
  const counted = (await Array.fromAsync(store.scan())).flat().reduce((sum, { count }) => sum + count, 0);
  assertEquals(byOutcome[0], counted, "stored is what the store counted");

  // Every batch is in each distribution once, and its packets in their sum.
  const batches = ingest.counters.flushes;
  for (const family of ["queue_wait_seconds", "flush_duration_seconds", "flush_packets", "flush_devices"]) {
    assertEquals(sumOf(text, `tally_ingest_${family}_count`), batches, family);
  }
  assertEquals(sumOf(text, "tally_ingest_flush_packets_sum"), ingest.counters.received);
  assert(sumOf(text, "tally_ingest_received_bytes_total") > ingest.counters.received);
  assertEquals(sumOf(text, "tally_ingest_streams_opened_total"), 75);
  assertEquals(
    sumOf(text, "tally_store_call_errors_total", 'call="apply"'),
    sumOf(text, "tally_ingest_failed_flushes_total"),
  );
  assertEquals(sumOf(text, "tally_store_call_duration_seconds_count", 'call="apply"'), failures);
});

Deno.test("GET /readyz and /healthz: starting, ready, the store fails, ready again, shutting down", async () => {
  await using store = await temporaryStore();
  let failing = false;
  const wrapped = Object.assign(Object.create(store), {
    ping: () => failing ? Promise.reject(new StoreError("injected")) : store.ping(),
  }) as Store;
  await using ops = await startOps();
  const ready = async () => {
    const { status, text } = await get(`${ops.url}/readyz`);
    return [status, JSON.parse(text).reason];
  };
  assertEquals(await ready(), [503, "starting"]);
  assertEquals((await get(`${ops.url}/healthz`)).text, '{"status":"ok"}');
  await using ingest = await startTestIngest({ store: wrapped, storeGraceMs: 100 });
  await using api = await startTestApi(wrapped);
  ops.ops.addIngest(ingest);
  ops.ops.addApi(api);
  ops.ops.started();
  assertEquals(await ready(), [200, undefined]);
  failing = true;
  await until(async () => (await ready())[1] === "the store fails", "the outage shows");
  failing = false;
  await until(async () => (await ready())[0] === 200, "it is ready again");
  await ingest.drain();
  assertEquals(await ready(), [503, "shutting down"]);
  assertEquals((await get(`${ops.url}/healthz`)).status, 200);
});

Deno.test("the ops port serves its three paths, GET and HEAD, to the hosts that are allowed, and no others", async () => {
  await using ops = await startOps(["--http-allowed-hosts", "scraper.example"]);
  ops.ops.started();
  assertEquals((await get(`${ops.url}/`)).status, 404);
  assertEquals((await fetch(`${ops.url}/metrics`, { method: "HEAD" })).status, 200);
  const post = await fetch(`${ops.url}/metrics`, { method: "POST", body: "x" });
  assertEquals([post.status, (await post.text()).length > 0], [404, true]);
  const port = Number(new URL(ops.url).port);
  const raw = async (path: string, host: string) => {
    const socket = connect(port, "127.0.0.1");
    socket.end(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    return (await new Response(ReadableStream.from(socket)).text()).split("\r\n")[0];
  };
  assertEquals(await raw("/metrics", "attacker.example"), "HTTP/1.1 403 Forbidden");
  assertEquals(await raw("/metrics", "scraper.example:9464"), "HTTP/1.1 200 OK");
  assertEquals(await raw("/readyz", "attacker.example"), "HTTP/1.1 200 OK");
});

Deno.test("main.ts with TALLY_OPS_PORT=0: a real Prometheus scrapes ingest and api, and counts the packets", async () => {
  await using program = await Program.start([], { TALLY_OPS_PORT: "0" });
  const ops = await program.line("ops listening");
  const ingest = await program.line("ingest listening");
  await until(async () => (await get(`http://127.0.0.1:${ops.port}/readyz`)).status === 200, "it is ready");
  const call = new RawCall(Number(ingest.port), "StreamBatches");
  call.send(framedBatch([packet("one"), packet("two"), packet("")]));
  await call.finish();
  const text = await scrape(`http://127.0.0.1:${ops.port}`);
  assertMatch(text, /^tally_build_info\{version="[\d.]+",deno="[\d.]+"\} 1$/m);
  assertStringIncludes(text, "\ntally_api_connections 0\n");
  await using prometheus = await PrometheusServer.start([`127.0.0.1:${ops.port}`]);
  await until(
    async () => await prometheus.value('tally_ingest_packets_total{outcome="stored"}') === 2,
    "Prometheus has the packets",
    30,
  );
  assertEquals(await prometheus.value('sum(tally_ingest_packets_total{outcome="rejected"})'), 1);
  assertEquals(
    await prometheus.value(
      "histogram_quantile(0.99, sum by (le) (tally_ingest_flush_packets_bucket)) <= 10",
    ) !== undefined,
    true,
  );
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("main.ts with workers: the supervisor and each worker have an ops port of their own", async () => {
  const base = freePorts(3);
  await using program = await Program.start(["--role", "ingest", "--ingest-workers", "2"], {
    TALLY_OPS_PORT: String(base),
  }, { permissions: "workers" });
  for (let i = 0; i < 3; i++) {
    const url = `http://127.0.0.1:${base + i}`;
    await until(
      async () => (await get(`${url}/readyz`).catch(() => undefined))?.status === 200,
      `${url} is ready`,
      60,
    );
    assertEquals((await scrape(url)).includes("tally_ingest_packets_total"), i > 0);
  }
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

/** The first of `count` ports in a row that are free now. */
function freePorts(count: number): number {
  for (;;) {
    const listeners = [Deno.listen({ hostname: "127.0.0.1", port: 0 })];
    try {
      const first = listeners[0]!.addr.port;
      for (let i = 1; i < count; i++) listeners.push(Deno.listen({ hostname: "127.0.0.1", port: first + i }));
      return first;
    } catch {
      // One of them is in use.
    } finally {
      for (const listener of listeners) listener.close();
    }
  }
}
