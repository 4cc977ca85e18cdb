/**
 * What Prometheus is given, judged by its own promtool.
 *
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { PROMETHEUS_CONTENT_TYPE } from "../../src/metrics/prometheus_text.ts";
import { RejectReason } from "../../src/protocol/reject_reason.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { instanceReport } from "../support/instance_report.ts";
import { ListedStore } from "../support/listed_store.ts";
import { PrometheusServer } from "../support/prometheus_server.ts";
import { promtool } from "../support/promtool.ts";
import { addReaderToken } from "../support/reader_tokens.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { addPackets, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

async function scrape(api: { url: string }): Promise<string> {
  const response = await fetch(`${api.url}/metrics`, { headers: { accept: "text/plain" } });
  const text = await response.text();
  assertEquals(response.status, 200, text);
  assertEquals(await promtool(text), { code: 0, output: "" });
  return text;
}

/** The value of one series, as it stands in the text; undefined if it is not there. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split("\n").find((line) => line.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

const report = instanceReport({
  ...{ instance: "one", host: "host", worker: 0, ingestAddress: "127.0.0.1:1", version: "1.2.3" },
  ...{ startedMs: 1_700_000_001_500, cpuSeconds: 1.5, residentBytes: 2 ** 27, eventLoopLagMs: 20.5 },
  ...{ received: 100, stored: 90, sessionsReverted: 15, packetsLost: 16, queueMaxPackets: 10_000 },
  ...{ queuePackets: 4, queueFull: 11, failedFlushes: 12, connectionsCut: 13, callsRefused: 14 },
  ...{ maxConnections: 15, connectionsRefused: 16, logLinesDropped: 17, streamsReset: 18 },
  rejected: { PAYLOAD_TOO_LARGE: 3 },
  clockAheadMs: 3_000,
});

Deno.test("GET /metrics: promtool accepts the Prometheus form, hostile ids and instances included", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { "sensor-1": 10, '"}\\': 2, "<script>": 3, "温度计-🌡️": 4 });
  const nowMs = Date.now();
  await store.reportInstance({ ...report, reportedMs: nowMs });
  const hostile = {
    host: 'two"\\',
    ingestAddress: "[::]:2",
    worker: 3,
    accepting: false,
    version: 'x"\n',
    rejected: { NEW: 1 },
  };
  await store.reportInstance({ ...report, ...hostile, instance: "two", reportedMs: nowMs });
  await using api = await startTestApi(store);
  const text = await scrape(api);
  for (
    const line of [
      "tally_packets_total 19",
      'tally_devices{status="online"} 4',
      "tally_devices_omitted 0",
      "tally_store_up 1",
      "tally_ingest_instances 2",
      'tally_ingest_build_info{ingest="host/127.0.0.1:1",version="1.2.3"} 1',
      'tally_ingest_packets_stored_total{ingest="host/127.0.0.1:1"} 90',
      'tally_ingest_packets_rejected_total{ingest="host/127.0.0.1:1",reason="PAYLOAD_TOO_LARGE"} 3',
      'tally_ingest_packets_rejected_total{ingest="two\\"\\\\/[::]:2/3",reason="NEW"} 1',
      'tally_ingest_queue_packets{ingest="two\\"\\\\/[::]:2/3"} 4',
      'tally_ingest_queue_full_total{ingest="host/127.0.0.1:1"} 11',
      'tally_ingest_failed_flushes_total{ingest="host/127.0.0.1:1"} 12',
      'tally_ingest_connections_cut_total{ingest="host/127.0.0.1:1"} 13',
      'tally_ingest_calls_refused_total{ingest="host/127.0.0.1:1"} 14',
      'tally_ingest_max_connections{ingest="host/127.0.0.1:1"} 15',
      'tally_ingest_accepting{ingest="host/127.0.0.1:1"} 1',
      'tally_ingest_accepting{ingest="two\\"\\\\/[::]:2/3"} 0',
      'tally_ingest_connections_refused_total{ingest="host/127.0.0.1:1"} 16',
      'tally_ingest_log_lines_dropped_total{ingest="host/127.0.0.1:1"} 17',
      'tally_ingest_streams_reset_total{ingest="host/127.0.0.1:1"} 18',
      "tally_api_connections 1",
      "tally_api_max_connections 2000",
      "tally_api_connections_refused_total 0",
      "tally_api_connections_cut_total 0",
      "tally_api_log_lines_dropped_total 0",
      'tally_ingest_sessions_reverted_total{ingest="host/127.0.0.1:1"} 15',
      'tally_ingest_packets_lost_total{ingest="host/127.0.0.1:1"} 16',
      'tally_ingest_clock_ahead_seconds{ingest="host/127.0.0.1:1"} 3',
      'tally_store_may_evict{policy="noeviction"} 0',
      "tally_clock_ahead_seconds 0",
      'tally_ingest_start_time_seconds{ingest="host/127.0.0.1:1"} 1700000001.5',
      'tally_ingest_cpu_seconds_total{ingest="host/127.0.0.1:1"} 1.5',
      'tally_ingest_resident_memory_bytes{ingest="host/127.0.0.1:1"} 134217728',
      'tally_ingest_event_loop_lag_seconds{ingest="host/127.0.0.1:1"} 0.0205',
    ]
  ) assertStringIncludes(text, `\n${line}\n`);
  const seconds = valueOf(text, 'tally_device_last_seen_timestamp_seconds{device_id="sensor-1"}')!;
  assertEquals(Math.abs(seconds - nowMs / 1_000) < 60, true);

  // It does report what is wrong.
  assertEquals((await promtool("# TYPE a counter\na 1\n")).code, 3);
});

Deno.test("GET /metrics: each reject reason has a series, from 0 on", async () => {
  await using store = await temporaryStore();
  await store.reportInstance({ ...report, rejected: {}, reportedMs: Date.now() });
  await using api = await startTestApi(store);
  const text = await scrape(api);
  const reasons = Object.keys(RejectReason).filter((reason) => !/^\d/.test(reason));
  assertEquals(reasons.length > 5, true);
  for (const reason of reasons) {
    const series = `tally_ingest_packets_rejected_total{ingest="host/127.0.0.1:1",reason="${reason}"}`;
    assertEquals(valueOf(text, series), 0, reason);
  }
});

Deno.test("GET /metrics: an ingest that was killed and restarted keeps its series, without a duplicate", async () => {
  await using store = await temporaryStore();
  const reportedMs = Date.now();
  for (const [instance, startedMs] of [["b-killed", 1_000], ["a-again", 2_000]] as const) {
    await store.reportInstance({ ...report, instance, startedMs, reportedMs, stored: startedMs });
  }
  await using api = await startTestApi(store);
  const text = await scrape(api);
  assertEquals(valueOf(text, 'tally_ingest_packets_stored_total{ingest="host/127.0.0.1:1"}'), 2_000);
  assertEquals(text.match(/^tally_ingest_packets_stored_total/gm)?.length, 1);
  assertEquals(valueOf(text, "tally_ingest_instances"), 1);
});

Deno.test("tally_packets_total counts all devices, with and without a series, and never decreases", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 20, c: 300, d: 4_000 });
  await store.remove("a");
  {
    await using api = await startTestApi(store, { prometheusMaxDevices: 1, maxAgeMs: 0 });
    const total = async () => valueOf(await scrape(api), "tally_packets_total");
    assertEquals(await total(), 4_321);
    await addPackets(store, { c: 1, new: 1 });
    await store.remove("b");
    await until(async () => await total() === 4_323, "what changed is there");
    await addPackets(store, { b: 10 });
    await until(async () => await total() === 4_333, "the device that came back is counted again");
    const counts: { count: number }[] = await (await fetch(`${api.url}/metrics`)).json();
    assertEquals(counts.reduce((sum, { count }) => sum + count, 0), 4_312);
  }
  // An api that has just started goes on from there.
  await using again = await startTestApi(store);
  assertEquals(valueOf(await scrape(again), "tally_packets_total"), 4_333);
});

Deno.test("GET /metrics has the figures of the api's process", async () => {
  await using store = await temporaryStore();
  const startedMs = Date.now();
  await using api = await startTestApi(store);
  const text = await scrape(api);
  assertMatch(text, /^tally_build_info\{version="\d+\.\d+\.\d+",deno="\d+\.\d+\.\d+"\} 1$/m);
  const startTime = valueOf(text, "process_start_time_seconds")!;
  assertEquals(startTime >= startedMs / 1_000 && startTime <= Date.now() / 1_000, true);
  assertEquals(valueOf(text, "process_cpu_seconds_total")! > 0, true);
  assertEquals(valueOf(text, "process_resident_memory_bytes")! > 2 ** 20, true);
  // A turn of the event loop that takes half a second.
  const endMs = performance.now() + 500;
  while (performance.now() < endMs);
  await until(
    async () => valueOf(await scrape(api), "tally_event_loop_lag_seconds")! >= 0.2,
    "the lag shows",
  );
});

Deno.test("GET /metrics while the store is down: Prometheus gets 200, tally_store_up 0 and process figures, no old ones", async () => {
  await using redis = await startRedis({ appendonly: "yes" });
  const store = await openStore(redis, { commandTimeoutMs: 500 });
  try {
    await addPackets(store, { a: 1 });
    await using api = await startTestApi(store);
    assertEquals(valueOf(await scrape(api), "tally_store_up"), 1);
    await redis.kill9();
    let text = "";
    const oldOnes = /^(?!#|process_|tally_(api_[a-z_]+|store_up|build_info|event_loop_lag_seconds)\b).+/m;
    // What was read a moment before is shown until it is too old.
    await until(async () => {
      text = await scrape(api);
      return valueOf(text, "tally_store_up") === 0 && !oldOnes.test(text);
    }, "the outage shows, and nothing old");
    assertMatch(text, /^process_cpu_seconds_total [\d.]+$/m);
    assertMatch(text, /^tally_build_info\{.*\} 1$/m);
    const head = await fetch(`${api.url}/metrics`, { method: "HEAD", headers: { accept: "text/plain" } });
    assertEquals([head.status, head.headers.get("content-type")], [200, PROMETHEUS_CONTENT_TYPE]);
    // A figure that is read for Prometheus alone may show the outage before the counts are too old.
    await until(async () => {
      const json = await fetch(`${api.url}/metrics`);
      await json.body?.cancel();
      return json.status === 503;
    }, "JSON shows it too");
    await redis.start();
    await until(async () => valueOf(text = await scrape(api), "tally_store_up") === 1, "it is back");
    assertEquals(valueOf(text, "tally_packets_total"), 1);
  } finally {
    await store.close();
  }
});

Deno.test("GET /metrics: a store that hangs is reported down before the scrape timeout", async () => {
  const store = new ListedStore([{ deviceId: "a", count: 1 }]);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  await using api = await startTestApi(store, { warmForMs: 0 });
  const scrape = (seconds: string) =>
    fetch(`${api.url}/metrics`, {
      headers: { accept: "text/plain", "x-prometheus-scrape-timeout-seconds": seconds },
    });
  const away = await scrape("0.1");
  assertEquals([away.status, valueOf(await away.text(), "tally_store_up")], [200, 0]);
  const patient = ["60", "nonsense", "0", "-1", "1e9", "Infinity"].map(scrape);
  gate.resolve();
  for (const response of await Promise.all(patient)) {
    assertEquals([response.status, valueOf(await response.text(), "tally_store_up")], [200, 1]);
  }
});

Deno.test("GET /metrics: a real Prometheus scrapes with a token of the scope metrics, and not without", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { "sensor-1": 7 });
  await using api = await startTestApi(store, { apiAuth: "token" });
  const { token } = await addReaderToken(store, ["metrics"]);
  const target = new URL(api.url).host;
  await using without = await PrometheusServer.start([target]);
  await until(async () => (await without.scrapeErrors()).join().includes("401"), "it is refused");
  await using server = await PrometheusServer.start([target], token);
  await until(async () => await server.value("tally_packets_total") === 7, "it has the count");
  assertEquals(await server.scrapeErrors(), [""]);
});

Deno.test("alerts.yml passes its promtool tests", async () => {
  const { code, stdout, stderr } = await new Deno.Command("promtool", {
    args: ["test", "rules", "alerts_test.yml"],
    cwd: new URL("../../.github/prometheus", import.meta.url),
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stdout) + decoder.decode(stderr));
});

Deno.test("alerts.yml: a real Prometheus fires and ends the alerts through an outage", async () => {
  await using redis = await startRedis({ appendonly: "yes" });
  const store = await openStore(redis, { commandTimeoutMs: 300 });
  try {
    // Three packets fill the queue, and a device counts as offline after five seconds.
    await using ingest = await startTestIngest({ store, queueMaxPackets: 3 });
    await using api = await startTestApi(store, { offlineAfterMs: 5_000 });
    await using prometheus = await PrometheusServer.start([`127.0.0.1:${api.port}`]);
    const fires = (name: string) =>
      until(async () => (await prometheus.firing()).includes(name), `${name} fires`, 60);
    const ends = (name: string) =>
      until(async () => !(await prometheus.firing()).includes(name), `${name} ends`, 60);
    const scrapes = () =>
      until(async () => (await prometheus.scrapeErrors()).join() === "", "a scrape succeeds", 60);
    const shows = (expression: string, value: number | undefined) =>
      until(async () => await prometheus.value(expression) === value, `${expression} is ${value}`, 60);

    // Ten devices, of which three stop, then all.
    let speaking = 10;
    const streams = Array.from({ length: 10 }, () => new RawCall(ingest.port));
    let sent = 0;
    const timer = setInterval(() => {
      for (let i = 0; i < speaking; i++) streams[i]!.send(framedPacket(packet(`sensor-${i}`)));
      sent += speaking;
    }, 500);
    try {
      await shows('tally_devices{status="online"}', 10);
      await scrapes();
      const ingestLabel = `ingest="test/127.0.0.1:${ingest.port}"`;
      assertEquals(await prometheus.value(`tally_ingest_build_info{${ingestLabel}}`), 1);
      await until(async () => {
        const packets = await prometheus.value("tally_packets_total");
        return packets !== undefined && packets > 0 && packets <= sent;
      }, "the packets are counted");
      assertEquals(await prometheus.value("tally_store_up"), 1);
      speaking = 7;
      await fires("TallyManyDevicesOffline");
      assertEquals((await prometheus.firing()).includes("TallyFleetDown"), false);
      speaking = 0;
      await fires("TallyFleetDown");
      speaking = 10;
      await ends("TallyFleetDown");
      await ends("TallyManyDevicesOffline");

      await streams[0]!.send(...Array.from({ length: 1_000 }, () => framedPacket(packet("sensor-0"))));
      await fires("TallyQueueFull");

      await redis.kill9();
      await fires("TallyStoreAway");
      await shows("up", 1);
      await shows('tally_devices{status="online"}', undefined);
      assertEquals((await prometheus.firing()).includes("TallyFleetDown"), false);
      await redis.start();
      await ends("TallyStoreAway");
      await shows('tally_devices{status="online"}', 10);
      // Refused batches were sent again.
      await fires("TallyFlushesFail");
    } finally {
      clearInterval(timer);
    }
    sent += 1_000;
    for (const stream of streams) await stream.finish();
    await shows("tally_packets_total", sent);
    await scrapes();

    await ingest.drain();
    await fires("TallyNoIngest");
    await api.close(1_000);
    await fires("TallyApiDown");
  } finally {
    await store.close();
  }
});

Deno.test("GET /metrics shows the tags of TALLY_PROMETHEUS_TAGS as labels of devices, and their figures", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 20, c: 300 });
  const tags = (site: string) => new Map([["site", site], ["ser-ial", "1"], ["model", "x2"]]);
  await store.setLabels([
    { deviceId: "a", tags: tags('o"s\\lo') },
    { deviceId: "b", tags: tags("bergen") },
    { deviceId: "c", name: "no tags" },
    { deviceId: "unseen", tags: tags("bergen") },
  ]);
  await using api = await startTestApi(store, { prometheusTags: ["site", "ser-ial"] });
  const text = await scrape(api);
  const site = 'o\\"s\\\\lo';
  for (
    const line of [
      `tally_device_packets_total{device_id="a",tag_ser_ial="1",tag_site="${site}"} 1`,
      'tally_device_packets_total{device_id="b",tag_ser_ial="1",tag_site="bergen"} 20',
      'tally_device_packets_total{device_id="c"} 300',
      `tally_tag_devices{key="site",value="${site}",status="online"} 1`,
      'tally_tag_devices{key="site",value="bergen",status="offline"} 0',
      'tally_tag_devices{key="ser-ial",value="1",status="online"} 2',
      'tally_tag_packets{key="site",value="bergen"} 20',
      'tally_tag_packets{key="ser-ial",value="1"} 21',
    ]
  ) assertStringIncludes(text, `\n${line}\n`);
  assertEquals(text.includes("model"), false);
});
