/**
 * What Tally knows in Prometheus' text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */
import type { StoreHealth } from "../clock.ts";
import type { InstanceReport } from "../store/store.ts";
import type { DeviceCounts } from "./device_index.ts";

/** Media type of {@linkcode formatPrometheus}'s text; a scraper chooses its parser by it. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** What is told. */
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

/** The whole text, line by line. */
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
  yield family("tally_devices", "gauge", "Devices known, by status.");
  yield `tally_devices{status="online"} ${online}\n`;
  yield `tally_devices{status="offline"} ${devices.ids.length - online}\n`;
  yield family(
    "tally_devices_omitted",
    "gauge",
    "Devices without series of their own, for there are too many.",
  );
  yield `tally_devices_omitted ${devices.ids.length - shown}\n`;
  yield* formatStoreHealth(storeHealth);
  yield* formatInstances(instances);
}

/** A label value stands between quotes: backslash, quote and line feed are escaped, all else is itself. */
export function escapeLabelValue(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}

function* formatStoreHealth({ evictionPolicy, clockAheadMs }: StoreHealth): Generator<string> {
  yield family(
    "tally_store_may_evict",
    "gauge",
    "1 if the store evicts counts when its memory is full, else 0.",
  );
  const policy = evictionPolicy === undefined ? "noeviction" : escapeLabelValue(evictionPolicy);
  yield `tally_store_may_evict{policy="${policy}"} ${evictionPolicy === undefined ? 0 : 1}\n`;
  yield family("tally_clock_ahead_seconds", "gauge", "How far the api's clock is ahead of the store's.");
  yield `tally_clock_ahead_seconds ${clockAheadMs / 1_000}\n`;
}

type Kind = "counter" | "gauge";

/** By instance: the part of the name behind `tally_ingest_`, what it is, and where it stands in the report. */
const instanceFamilies: readonly (readonly [string, Kind, string, (report: InstanceReport) => number])[] = [
  ["packets_received_total", "counter", "Packets read from streams.", (report) => report.received],
  ["packets_stored_total", "counter", "Packets counted by the store.", (report) => report.stored],
  ["packets_duplicate_total", "counter", "Packets their session had already.", (report) => report.duplicates],
  ["packets_fenced_total", "counter", "Packets left to a newer stream.", (report) => report.fenced],
  ["queue_packets", "gauge", "Packets waiting for the store.", (report) => report.queuePackets],
  ["queue_max_packets", "gauge", "Packets that may wait for the store.", (report) => report.queueMaxPackets],
  [
    "queue_full_total",
    "counter",
    "Times a stream had to wait for room in the queue.",
    (report) => report.queueFull,
  ],
  [
    "failed_flushes_total",
    "counter",
    "Times the store did not take a batch.",
    (report) => report.failedFlushes,
  ],
  [
    "connections_cut_total",
    "counter",
    "Connections ended for what came by them.",
    (report) => report.connectionsCut,
  ],
  [
    "calls_refused_total",
    "counter",
    "Calls over a bound of their connection.",
    (report) => report.callsRefused,
  ],
  ["streams", "gauge", "Device streams open.", (report) => report.streams],
  ["connections", "gauge", "Connections open.", (report) => report.connections],
  ["fast_path", "gauge", "1 where the fast path serves, else 0.", (report) => report.fastPath ? 1 : 0],
  [
    "clock_ahead_seconds",
    "gauge",
    "How far its clock is ahead of the store's.",
    (report) => (report.clockAheadMs ?? 0) / 1_000,
  ],
  ["start_time_seconds", "gauge", "When it started, Unix time.", (report) => report.startedMs / 1_000],
];

function* formatInstances(instances: readonly InstanceReport[]): Generator<string> {
  const labels = instances.map(({ instance }) => `ingest="${escapeLabelValue(instance)}"`);
  for (const [name, kind, help, read] of instanceFamilies) {
    yield family(`tally_ingest_${name}`, kind, help);
    for (const [i, report] of instances.entries()) {
      yield `tally_ingest_${name}{${labels[i]}} ${read(report)}\n`;
    }
  }
  yield family("tally_ingest_packets_rejected_total", "counter", "Packets refused, by reason.");
  for (const [i, { rejected }] of instances.entries()) {
    for (const [reason, packets] of Object.entries(rejected)) {
      const reasonLabel = `reason="${escapeLabelValue(reason)}"`;
      yield `tally_ingest_packets_rejected_total{${labels[i]},${reasonLabel}} ${packets}\n`;
    }
  }
}

function family(name: string, kind: Kind, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
}
