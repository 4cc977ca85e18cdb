/**
 * Metrics of the ingest processes, as they report them to the store.
 *
 * @module
 */
import { RejectReason } from "../../protocol/reject_reason.ts";
import {
  CPU_SECONDS,
  escapeLabelValue,
  EVENT_LOOP_LAG,
  metric,
  type MetricKind,
  type Sample,
} from "./prometheus_text.ts";
import type { InstanceReport } from "../../store/instances.ts";

/** By instance: the part of the name behind `tally_ingest_`, what it is, and where it stands in the report. */
const instanceFamilies:
  readonly (readonly [string, MetricKind, string, (report: InstanceReport) => number])[] = [
    ["packets_received_total", "counter", "Packets read from streams.", (report) => report.received],
    ["packets_stored_total", "counter", "Packets counted by the store.", (report) => report.stored],
    [
      "packets_duplicate_total",
      "counter",
      "Packets their session had already.",
      (report) => report.duplicates,
    ],
    [
      "packets_fenced_total",
      "counter",
      "Packets left to the next stream of their session.",
      (report) => report.fenced,
    ],
    [
      "sessions_reverted_total",
      "counter",
      "Times the store was found to hold less of a session than before.",
      (report) => report.sessionsReverted,
    ],
    [
      "packets_lost_total",
      "counter",
      "Acknowledged packets that the store did not hold any more.",
      (report) => report.packetsLost,
    ],
    ["queue_packets", "gauge", "Packets waiting for the store.", (report) => report.queuePackets],
    [
      "queue_max_packets",
      "gauge",
      "Packets that may wait for the store.",
      (report) => report.queueMaxPackets,
    ],
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
      "Connections closed for protocol errors, exceeded limits or keepalive timeout.",
      (report) => report.connectionsCut,
    ],
    [
      "connections_refused_total",
      "counter",
      "Connections closed at once because as many as allowed were open.",
      (report) => report.connectionsRefused,
    ],
    [
      "calls_refused_total",
      "counter",
      "Calls over a bound of their connection.",
      (report) => report.callsRefused,
    ],
    [
      "streams_reset_total",
      "counter",
      "Streams reset for what the device sent on them.",
      (report) => report.streamsReset,
    ],
    ["streams", "gauge", "Device streams open.", (report) => report.streams],
    ["connections", "gauge", "Connections open.", (report) => report.connections],
    ["max_connections", "gauge", "Connections that may be open.", (report) => report.maxConnections],
    [
      "accepting",
      "gauge",
      "1 where further connections are accepted, else 0.",
      (report) => report.accepting ? 1 : 0,
    ],
    [
      "log_lines_dropped_total",
      "counter",
      "Log lines dropped because their reader was too slow.",
      (report) => report.logLinesDropped,
    ],
    ["fast_path", "gauge", "1 where the fast path serves, else 0.", (report) => report.fastPath ? 1 : 0],
    [
      "clock_ahead_seconds",
      "gauge",
      "How far its clock is ahead of the store's.",
      (report) => report.clockAheadMs / 1_000,
    ],
    ["start_time_seconds", "gauge", "When it started, Unix time.", (report) => report.startedMs / 1_000],
    ["cpu_seconds_total", "counter", CPU_SECONDS, (report) => report.cpuSeconds],
    ["resident_memory_bytes", "gauge", "Memory in use.", (report) => report.residentBytes],
    ["event_loop_lag_seconds", "gauge", EVENT_LOOP_LAG, (report) => report.eventLoopLagMs / 1_000],
  ];

const rejectReasons = Object.values(RejectReason).filter((reason) => typeof reason === "string");

/** One family for each metric, with a sample for each ingest. */
export function* formatInstances(reports: readonly InstanceReport[]): Generator<string> {
  const instances = newestByLabel(reports);
  yield metric("tally_ingest_instances", "gauge", "Ingest processes at work.", [["", instances.length]]);
  const infos = instances.map(([label, { version }]): Sample => {
    return [`${label},version="${escapeLabelValue(version)}"`, 1];
  });
  yield metric("tally_ingest_build_info", "gauge", "Which program an ingest process is; always 1.", infos);
  for (const [name, kind, help, read] of instanceFamilies) {
    const samples = instances.map(([label, report]): Sample => [label, read(report)]);
    yield metric(`tally_ingest_${name}`, kind, help, samples);
  }
  // From 0, so that the first rejected packet is an increase; a newer ingest may report more reasons.
  const refused = instances.flatMap(([label, { rejected }]) =>
    [...new Set([...rejectReasons, ...Object.keys(rejected)])].map((reason): Sample => {
      return [`${label},reason="${escapeLabelValue(reason)}"`, rejected[reason] ?? 0];
    })
  );
  yield metric("tally_ingest_packets_rejected_total", "counter", "Packets refused, by reason.", refused);
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
