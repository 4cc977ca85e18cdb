/**
 * What follows from a line of a table of metrics.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";

import { AUTH_FAILURES } from "../../src/identity/auth_error.ts";
import { countedReport, createCounters } from "../../src/ingest/counters.ts";
import { apiMetrics } from "../../src/metrics/api_metrics.ts";
import { Histogram } from "../../src/metrics/histogram.ts";
import {
  type IngestCounterName,
  type IngestHistogramName,
  ingestMetrics,
} from "../../src/metrics/ingest_metrics.ts";
import {
  absentReport,
  counterNames,
  histogramNames,
  type HistogramReport,
  type Metric,
} from "../../src/metrics/metric.ts";
import { temporaryStore } from "../support/harness.ts";
import { instanceReport } from "../support/instance_report.ts";
import { startTestApi } from "../support/test_api.ts";

const lines = Object.entries<Metric>(ingestMetrics);
const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

Deno.test("ingestMetrics: each line is in /fleet, /openapi.json and, if it has a name there, in Prometheus", async () => {
  await using store = await temporaryStore();
  const report = instanceReport({ worker: 0, startedMs: 1_700_000_000_500, reportedMs: Date.now() });
  await store.reportInstance(report);
  await using api = await startTestApi(store);
  const get = async (path: string, accept = "application/json") =>
    await (await fetch(`${api.url}${path}`, { headers: { accept } })).text();

  const expected = Object.fromEntries(lines.map(([name]) => [snakeCase(name), Reflect.get(report, name)]));
  assertEquals(JSON.parse(await get("/fleet")).instances, [expected]);

  const { properties, required } = JSON.parse(await get("/openapi.json")).components.schemas.Instance;
  assertEquals(required, lines.map(([name]) => snakeCase(name)));
  for (const [name, { description }] of lines) {
    assertEquals(properties[snakeCase(name)].description.startsWith(description), true, name);
  }

  const text = await get("/metrics", "text/plain");
  const label = `ingest="${report.host}/${report.ingestAddress}"`;
  for (const [name, { type, prometheus, description, bounds = [], outcome }] of lines) {
    if (prometheus === undefined) continue;
    const family = `tally_ingest_${prometheus}`, value = Reflect.get(report, name);
    assert(text.includes(`# HELP ${family} ${description}.\n`), name);
    if (type === "histogram") {
      const { counts, sum } = value as HistogramReport, all = counts.reduce((total, count) => total + count);
      const divisor = name.endsWith("Ms") ? 1_000 : 1;
      for (
        const sample of [
          `${family}_bucket{${label},le="${bounds[1]! / divisor}"} ${counts[0]! + counts[1]!}`,
          `${family}_bucket{${label},le="+Inf"} ${all}`,
          `${family}_count{${label}} ${all}`,
          `${family}_sum{${label}} ${sum / divisor}`,
        ]
      ) assert(text.includes(`\n${sample}\n`), `${sample} is missing`);
      continue;
    }
    if (outcome !== undefined && type === "counter") {
      const sample = `tally_ingest_packets_total{${label},outcome="${outcome}"} ${value}`;
      assert(text.includes(`\n${sample}\n`), `${sample} is missing`);
    }
    const sample = type === "countsByReason"
      ? `${family}{${label},reason="PAYLOAD_TOO_LARGE"} ${value.PAYLOAD_TOO_LARGE}`
      : `${family}{${label}} ${name.endsWith("Ms") ? value / 1_000 : Number(value)}`;
    assert(text.includes(`\n${sample}\n`), `${sample} is missing`);
  }
});

Deno.test("ingestMetrics and apiMetrics keep Prometheus's conventions for names", () => {
  for (const table of [ingestMetrics, apiMetrics]) {
    const entries = Object.entries<Metric>(table),
      names = entries.flatMap(([, { prometheus }]) => prometheus ?? []);
    assertEquals(names.length, new Set(names).size, "a name occurs once");
    for (const [name, { type, prometheus, description }] of entries) {
      assertMatch(description, /^[A-Z].*[^.]$/, name);
      if (type === "counter") assertMatch(prometheus ?? "", /_total$/, name);
      if (prometheus === undefined) continue;
      assertMatch(prometheus, /^[a-z]+(_[a-z]+)*$/);
      assertEquals(prometheus.endsWith("_seconds"), name.endsWith("Ms"), name);
    }
  }
});

Deno.test("ingestMetrics shows every reason for which devices are refused from 0 on", () => {
  assertEquals<readonly string[]>(ingestMetrics.authFailures.reasons, AUTH_FAILURES);
});

Deno.test("createCounters() has each counter of the table, from 0, and countedReport() reports it by its name", () => {
  const counters = createCounters(), names = counterNames(ingestMetrics);
  assertEquals(names.includes("stored"), true);
  for (const [index, name] of names.entries()) {
    assertEquals(counters[name], 0, name);
    counters[name] += 10 + index;
  }
  Object.assign(counters.http2, { connectionsCut: 1, callsRefused: 2, streamsReset: 3 });
  counters.openStreams = 4;
  counters.streams = 6;
  const distributions = histogramNames(ingestMetrics);
  for (const [index, name] of distributions.entries()) counters[name].observe(1_000_000 + index);
  counters.rejected.set(1, 5);
  counters.authFailures.set("expired", 6);
  const expected = Object.fromEntries(names.map((name, index) => [name, 10 + index]));
  const distributed = distributions.map((name, index) => {
    const counts = ingestMetrics[name].bounds.map(() => 0);
    return [name, { counts: [...counts, 1], sum: 1_000_000 + index }];
  });
  assertEquals(countedReport(counters), {
    ...Object.fromEntries(distributed) as Record<IngestHistogramName, HistogramReport>,
    ...expected as Record<IngestCounterName, number>,
    ...{ connectionsCut: 1, callsRefused: 2, streamsReset: 3, streams: 4, streamsOpened: 6 },
    rejected: { DEVICE_ID_EMPTY: 5 },
    authFailures: { expired: 6 },
  });
});

Deno.test("absentReport() gives each line its absent value, or the zero of its type", () => {
  const { version, accepting, fastPath, host, rejected, stored } = absentReport(ingestMetrics);
  assertEquals({ version, accepting, fastPath, host, rejected, stored }, {
    ...{ version: "unknown", accepting: true, fastPath: false, host: "", rejected: {}, stored: 0 },
  });
});

Deno.test("Histogram: a value belongs to the first range whose bound it does not exceed", () => {
  const histogram = new Histogram([1, 10]);
  for (const value of [0, 1, 1.5, 10, 11, 1e9]) histogram.observe(value);
  assertEquals(histogram.report(), { counts: [2, 2, 2], sum: 1e9 + 23.5 });
});

Deno.test("ingestMetrics.authFailures lists the reasons of AUTH_FAILURES", () => {
  assertEquals<readonly string[]>(ingestMetrics.authFailures.reasons, AUTH_FAILURES);
});
