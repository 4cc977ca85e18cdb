/**
 * Tally's figures in Prometheus' text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */
import type { StoreHealth } from "../store/store_clock.ts";
import { RejectReason } from "../protocol/reject_reason.ts";
import type { ProcessFigures } from "../runtime/process_figures.ts";
import { apiMetrics, type ApiReport } from "../metrics/api_metrics.ts";
import { ingestMetrics, type InstanceReport } from "../metrics/ingest_metrics.ts";
import type { Metric, MetricTable, Report } from "../metrics/metric.ts";
import { VERSION } from "../runtime/version.ts";
import type { DeviceCounts } from "../fleet/device_index.ts";

/** Media type of {@linkcode formatPrometheus}'s text; a scraper chooses its parser by it. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** What the store has. */
export interface PrometheusContents {
  /** Every device. */
  readonly devices: DeviceCounts;
  /** How many of them are online. */
  readonly online: number;
  /** Devices with series of their own, the first by id: each one more costs the scraper memory for weeks. */
  readonly prometheusMaxDevices: number;
  /** The ingest processes at work. */
  readonly instances: readonly InstanceReport[];
  /** What is reported of the store and the clock. */
  readonly storeHealth: StoreHealth;
}

/** Figures of the api's own process. */
export interface ApiProcess extends ProcessFigures {
  /** When it started, Unix milliseconds. */
  readonly startedMs: number;
}

/** The metrics that come from the store, piece by piece; {@linkcode formatProcess} has the rest. */
export function* formatPrometheus(contents: PrometheusContents): Generator<string> {
  const { devices, online, prometheusMaxDevices, instances, storeHealth } = contents;
  const shown = Math.min(devices.ids.length, prometheusMaxDevices);
  yield family("tally_device_packets_total", "counter", "Packets stored, by device.");
  const labels = devices.ids.slice(0, shown).map((id) => `{device_id="${escapeLabelValue(id)}"}`);
  for (let i = 0; i < shown; i++) yield `tally_device_packets_total${labels[i]} ${devices.counts[i]}\n`;
  yield family(
    "tally_device_last_seen_timestamp_seconds",
    "gauge",
    "When the latest packet came, by device.",
  );
  for (let i = 0; i < shown; i++) {
    yield `tally_device_last_seen_timestamp_seconds${labels[i]} ${devices.lastSeenMs[i]! / 1_000}\n`;
  }
  yield metric("tally_packets_total", "counter", "Packets stored of all devices, removed ones too.", [
    ["", devices.packetsEver],
  ]);
  yield metric("tally_devices", "gauge", "Devices known, by status.", [
    ['status="online"', online],
    ['status="offline"', devices.ids.length - online],
  ]);
  yield metric(
    "tally_devices_omitted",
    "gauge",
    "Devices without series of their own, for there are too many.",
    [["", devices.ids.length - shown]],
  );
  yield* formatStoreHealth(storeHealth);
  yield* formatInstances(instances);
}

/** The metrics of the api's own process; `storeUp`: whether it can read the store. */
export function formatProcess(process: ApiProcess, own: ApiReport, storeUp: boolean): string {
  const { cpuSeconds, residentBytes, eventLoopLagMs, startedMs } = process;
  const versions = `version="${VERSION}",deno="${Deno.version.deno}"`;
  return [
    metric("tally_store_up", "gauge", "1 where the store could be read for this answer, else 0.", [
      ["", storeUp ? 1 : 0],
    ]),
    metric("tally_build_info", "gauge", "Which program this is; always 1.", [[versions, 1]]),
    metric("tally_event_loop_lag_seconds", "gauge", EVENT_LOOP_LAG, [["", eventLoopLagMs / 1_000]]),
    metric("process_cpu_seconds_total", "counter", CPU_SECONDS, [["", cpuSeconds]]),
    metric("process_resident_memory_bytes", "gauge", "Memory in use.", [["", residentBytes]]),
    metric("process_start_time_seconds", "gauge", "When it started, Unix time.", [["", startedMs / 1_000]]),
    ...formatTable("tally_api_", apiMetrics, [["", own]]),
  ].join("");
}

/** A label value stands between quotes: backslash, quote and line feed are escaped, all else is itself. */
export function escapeLabelValue(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}

function* formatStoreHealth({ evictionPolicy, clockAheadMs }: StoreHealth): Generator<string> {
  const policy = evictionPolicy === undefined ? "noeviction" : escapeLabelValue(evictionPolicy);
  yield metric(
    "tally_store_may_evict",
    "gauge",
    "1 if the store evicts counts when its memory is full, else 0.",
    [[`policy="${policy}"`, evictionPolicy === undefined ? 0 : 1]],
  );
  yield metric("tally_clock_ahead_seconds", "gauge", "How far the api's clock is ahead of the store's.", [
    ["", clockAheadMs / 1_000],
  ]);
}

type Kind = "counter" | "gauge";

const EVENT_LOOP_LAG = "Greatest delay of a timer during the last minute.";
const CPU_SECONDS = "Processor time used.";

const rejectReasons = Object.values(RejectReason).filter((reason) => typeof reason === "string");

/** The metrics of a table that have a name in Prometheus, of each process: its labels, and what it reports. */
function* formatTable<Table extends MetricTable>(
  prefix: string,
  table: Table,
  reports: readonly (readonly [labels: string, report: Report<Table>])[],
): Generator<string> {
  for (const [key, line] of Object.entries(table)) {
    const { prometheus, description } = line;
    if (prometheus === undefined) continue;
    const kind = prometheus.endsWith("_total") ? "counter" : "gauge";
    const samples = reports.flatMap(([labels, report]) =>
      samplesOf(line.type, key.endsWith("Ms") ? 1_000 : 1, labels, report[key])
    );
    yield metric(`${prefix}${prometheus}`, kind, `${description}.`, samples);
  }
}

function samplesOf(type: Metric["type"], divisor: number, labels: string, value: unknown): Sample[] {
  if (type !== "countsByReason") return [[labels, Number(value) / divisor]];
  // From 0, so that the first rejected packet is an increase; a newer ingest may report more reasons.
  const counts = value as Readonly<Record<string, number>>;
  return [...new Set([...rejectReasons, ...Object.keys(counts)])].map((reason): Sample => {
    return [`${labels},reason="${escapeLabelValue(reason)}"`, counts[reason] ?? 0];
  });
}

function* formatInstances(reports: readonly InstanceReport[]): Generator<string> {
  const instances = newestByLabel(reports);
  yield metric("tally_ingest_instances", "gauge", "Ingest processes at work.", [["", instances.length]]);
  const infos = instances.map(([label, { version }]): Sample => {
    return [`${label},version="${escapeLabelValue(version)}"`, 1];
  });
  yield metric("tally_ingest_build_info", "gauge", "Which program an ingest process is; always 1.", infos);
  yield* formatTable("tally_ingest_", ingestMetrics, instances);
}

/**
 * By a label that is stable across restarts of an ingest: its machine, the address it takes packets
 * on, and its number among workers. The report of a killed process and that of its successor exist together for some seconds.
 */
function newestByLabel(reports: readonly InstanceReport[]): [label: string, report: InstanceReport][] {
  const newest = new Map<string, InstanceReport>();
  for (const report of reports) {
    const { host, ingestAddress, worker } = report;
    const place = `${host}/${ingestAddress}${worker === 0 ? "" : `/${worker}`}`;
    const label = `ingest="${escapeLabelValue(place)}"`;
    if (report.startedMs >= (newest.get(label)?.startedMs ?? 0)) newest.set(label, report);
  }
  return [...newest];
}

/** Labels as they stand between the braces, or none; and the value. */
type Sample = readonly [labels: string, value: number];

function metric(name: string, kind: Kind, help: string, samples: readonly Sample[]): string {
  const line = ([labels, value]: Sample) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`;
  return family(name, kind, help) + samples.map(line).join("");
}

function family(name: string, kind: Kind, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
}
