/**
 * What an ingest process reports once a second: one line for each value, from which its counters
 * (`ingest/counters.ts`), its report in the store, `/fleet`, `/openapi.json` and Prometheus's `/metrics` follow.
 *
 * A new counter is a line of type `counter` here; count with `counters.name++` in the ingest. A new distribution is a
 * line of type `histogram`; add to it with `counters.name.observe(value)`, once per batch and not per packet.
 *
 * @module
 */
import { RejectReason } from "../protocol/reject_reason.ts";
import { DURATION_BOUNDS_MS, SIZE_BOUNDS } from "./histogram.ts";
import type { CounterName, HistogramName, MetricTable, Report } from "./metric.ts";
import { tlsFileMetrics } from "./tls_metrics.ts";

/** Names in Prometheus begin with `tally_ingest_`. Counters count from the start of the process. */
export const ingestMetrics = {
  instance: { type: "text", description: "Unique to the process" },
  host: { type: "text", description: "Name of the machine" },
  pid: { type: "integer", description: "Process id on the machine" },
  worker: { type: "integer", description: "Number among the workers of one supervisor; 0: not a worker" },
  version: { type: "text", absent: "unknown", description: "Version of Tally" },
  startedMs: { type: "unixMs", prometheus: "start_time_seconds", description: "When it started" },
  cpuSeconds: { type: "number", prometheus: "cpu_seconds_total", description: "Processor time used" },
  residentBytes: { type: "count", prometheus: "resident_memory_bytes", description: "Memory in use" },
  eventLoopLagMs: {
    type: "number",
    prometheus: "event_loop_lag_seconds",
    description: "Greatest delay of a timer during the last minute",
  },
  reportedMs: { type: "unixMs", description: "When it reported last" },
  rate: { type: "number", description: "Packets stored per second since the report before" },
  streams: { type: "count", prometheus: "streams", description: "Device streams open" },
  streamsOpened: { type: "count", prometheus: "streams_opened_total", description: "Device streams opened" },
  connections: { type: "count", prometheus: "connections", description: "Connections open" },
  connectionsAccepted: {
    type: "counter",
    prometheus: "connections_accepted_total",
    description: "Connections accepted",
  },
  maxConnections: {
    type: "count",
    prometheus: "max_connections",
    description: "Connections that may be open: TALLY_MAX_CONNECTIONS",
  },
  accepting: {
    type: "flag",
    absent: true,
    prometheus: "accepting",
    description:
      "Whether further connections are accepted: not without free file descriptors, and not in a drain",
  },
  queuePackets: {
    type: "count",
    prometheus: "queue_packets",
    description: "Packets that wait for the store",
  },
  queueMaxPackets: {
    type: "count",
    prometheus: "queue_max_packets",
    description: "Packets that may wait for the store: TALLY_QUEUE_MAX_PACKETS",
  },
  deferredPackets: {
    type: "count",
    prometheus: "deferred_packets",
    description:
      "Packets that are stored, and counted for their devices some seconds later: TALLY_DEFER_FROM",
  },
  deferredBytes: {
    type: "count",
    prometheus: "deferred_bytes",
    description: "Bytes that these packets take in the store",
  },
  queueBytes: {
    type: "count",
    prometheus: "queue_bytes",
    description: "Bytes of messages that wait for the store",
  },
  queueMaxBytes: {
    type: "count",
    prometheus: "queue_max_bytes",
    description: "Bytes of messages that may wait for the store: TALLY_QUEUE_MAX_BYTES",
  },
  streamsWaiting: {
    type: "count",
    prometheus: "streams_waiting",
    description: "Streams that wait for room in the queue",
  },
  queueWaitMs: {
    type: "histogram",
    bounds: DURATION_BOUNDS_MS,
    prometheus: "queue_wait_seconds",
    description: "Time that the first packet of a batch waited in the queue",
  },
  flushMs: {
    type: "histogram",
    bounds: DURATION_BOUNDS_MS,
    prometheus: "flush_duration_seconds",
    description: "Time until the store had a batch, repeated attempts included",
  },
  flushPackets: {
    type: "histogram",
    bounds: SIZE_BOUNDS,
    prometheus: "flush_packets",
    description: "Packets of a batch, whatever became of them",
  },
  flushDevices: {
    type: "histogram",
    bounds: SIZE_BOUNDS,
    prometheus: "flush_devices",
    description: "Devices of a batch",
  },
  receivedBytes: {
    type: "counter",
    prometheus: "received_bytes_total",
    description: "Bytes of messages, counted when the store gets their batch",
  },
  received: {
    type: "counter",
    prometheus: "packets_received_total",
    description: "Packets read from streams",
  },
  stored: {
    type: "counter",
    outcome: "stored",
    prometheus: "packets_stored_total",
    description: "Packets counted by the store",
  },
  duplicates: {
    type: "counter",
    outcome: "duplicate",
    prometheus: "packets_duplicate_total",
    description: "Packets that their session had already",
  },
  fenced: {
    type: "counter",
    outcome: "fenced",
    prometheus: "packets_fenced_total",
    description: "Packets left to the next stream of their session, which sends them again",
  },
  sessionsReverted: {
    type: "counter",
    prometheus: "sessions_reverted_total",
    description:
      "Times the store was found to hold less of a session than before: it was emptied or put back",
  },
  packetsLost: {
    type: "counter",
    prometheus: "packets_lost_total",
    description: "Acknowledged packets that the store did not hold any more when their session was claimed",
  },
  rejected: {
    type: "countsByReason",
    reasons: Object.values(RejectReason).filter((reason) => typeof reason === "string"),
    outcome: "rejected",
    prometheus: "packets_rejected_total",
    description: "Packets rejected, by reason",
  },
  devicesRefused: {
    type: "counter",
    prometheus: "devices_refused_total",
    description:
      "New devices refused, once for each batch: TALLY_MAX_DEVICES or TALLY_NEW_DEVICES_PER_MINUTE",
  },
  sessionsRefused: {
    type: "counter",
    prometheus: "sessions_refused_total",
    description: "New sessions refused: TALLY_MAX_SESSIONS or TALLY_NEW_SESSIONS_PER_MINUTE",
  },
  streamsRefused: {
    type: "counter",
    prometheus: "streams_refused_total",
    description: "Streams refused, or ended before their first message, for TALLY_MAX_STREAMS… settings",
  },
  streamsPaced: {
    type: "counter",
    prometheus: "streams_paced_total",
    description: "Times a stream had to wait for the rate of its device or identity",
  },
  queueFull: {
    type: "counter",
    prometheus: "queue_full_total",
    description: "Times a stream had to wait for room in the queue",
  },
  failedFlushes: {
    type: "counter",
    prometheus: "failed_flushes_total",
    description: "Attempts to store a batch that failed and were repeated",
  },
  connectionsCut: {
    type: "count",
    prometheus: "connections_cut_total",
    description:
      "Connections closed for protocol errors, exceeded limits, too little progress or keepalive timeout",
  },
  connectionsRefused: {
    type: "counter",
    prometheus: "connections_refused_total",
    description:
      "Connections closed at once because as many as allowed were open, or file descriptors were short",
  },
  connectionsEnded: {
    type: "counter",
    prometheus: "connections_ended_total",
    description: "Connections that got GOAWAY: TALLY_MAX_CONNECTION_AGE or TALLY_MAX_CONNECTION_IDLE",
  },
  tls: { type: "flag", prometheus: "tls", description: "Whether the device port has TLS" },
  tlsHandshakes: {
    type: "counter",
    prometheus: "tls_handshakes_total",
    description: "TLS handshakes completed",
  },
  tlsHandshakesResumed: {
    type: "counter",
    prometheus: "tls_handshakes_resumed_total",
    description: "Of these, with the session of an earlier connection",
  },
  tlsHandshakesFailed: {
    type: "counter",
    prometheus: "tls_handshakes_failed_total",
    description: "TLS handshakes that failed, timed out, or were ended because too many were in progress",
  },
  tlsCertificatesRefused: {
    type: "counter",
    prometheus: "tls_certificates_refused_total",
    description: "Connections closed because the client's certificate was not trusted",
  },
  ...tlsFileMetrics,
  callsRefused: {
    type: "count",
    prometheus: "calls_refused_total",
    description: "Calls refused for limits of their connection",
  },
  streamsReset: {
    type: "count",
    prometheus: "streams_reset_total",
    description: "Streams reset because of what the device sent on them",
  },
  authFailures: {
    type: "countsByReason",
    prometheus: "auth_failures_total",
    description: "Calls refused, and streams ended, for their credentials, by reason",
    reasons: ["missing", "unknown", "expired", "revoked", "wrong_certificate", "jwt_invalid"],
  },
  logLinesDropped: {
    type: "count",
    prometheus: "log_lines_dropped_total",
    description: "Log lines dropped because their reader was too slow",
  },
  clockAheadMs: {
    type: "integer",
    prometheus: "clock_ahead_seconds",
    description: "How far its machine's clock is ahead of the store's, to the second; negative: slow",
  },
  fastPath: {
    type: "flag",
    prometheus: "fast_path",
    description: "Whether the fast path serves telemetry, and not grpc-js",
  },
  ingestAddress: { type: "text", description: "Address and port on which devices connect" },
} as const satisfies MetricTable;

/** What an ingest process reports of itself. */
export type InstanceReport = Report<typeof ingestMetrics>;

/** The counters of an ingest process. */
export type IngestCounterName = CounterName<typeof ingestMetrics>;

/** The distributions of an ingest process. */
export type IngestHistogramName = HistogramName<typeof ingestMetrics>;
