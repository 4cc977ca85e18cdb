/**
 * An ingest process in `/fleet`.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { clockAhead, count, rate, unixMs } from "./fields.ts";
import type { InstanceReport } from "../../store/instances.ts";

/** What an ingest process reports, by the names readers see. */
export type Instance = z.infer<typeof Instance>;

/** @internal */
export const Instance = z.object({
  instance: z.string(),
  host: z.string(),
  pid: z.int(),
  worker: z.int().openapi({ description: "Number among the workers of one supervisor; 0: not a worker" }),
  version: z.string(),
  started_ms: unixMs,
  cpu_seconds: z.number().min(0).openapi({ description: "Processor time used since it started" }),
  resident_bytes: count.openapi({ description: "Memory in use" }),
  event_loop_lag_ms: z.number().min(0).openapi({
    description: "Greatest delay of a timer in it during the last minute",
  }),
  reported_ms: unixMs,
  rate: rate.openapi({ description: "Packets stored per second" }),
  streams: count,
  connections: count,
  max_connections: count.openapi({ description: "Connections that may be open: MAX_CONNECTIONS" }),
  accepting: z.boolean().openapi({
    description: "false: it takes no further connections, for it has no file descriptors left, or drains",
  }),
  queue_packets: count,
  queue_max_packets: count,
  received: count,
  stored: count,
  duplicates: count,
  fenced: count.openapi({ description: "Packets left to the next stream of their session" }),
  sessions_reverted: count.openapi({
    description:
      "Times the store was found to hold less of a session than before: it was emptied or put back",
  }),
  packets_lost: count.openapi({
    description: "Acknowledged packets the store did not hold any more when their session was claimed",
  }),
  rejected: z.record(z.string(), count).openapi({ description: "By the name of the reason" }),
  queue_full: count.openapi({ description: "Times a stream had to wait because the queue was full" }),
  failed_flushes: count.openapi({ description: "Times the store did not take a batch, tried again since" }),
  connections_cut: count.openapi({
    description: "Connections ended for breaking HTTP/2's rules or Tally's bounds, or without a sign of life",
  }),
  connections_refused: count.openapi({
    description: "Connections closed at once because max_connections were open",
  }),
  calls_refused: count.openapi({ description: "Calls refused for bounds of their connection" }),
  streams_reset: count.openapi({ description: "Streams reset for what the device sent on them" }),
  log_lines_dropped: count.openapi({ description: "Log lines dropped because their reader was too slow" }),
  clock_ahead_ms: clockAhead,
  fast_path: z.boolean(),
  ingest_address: z.string(),
}).openapi("Instance");

/** A report as JSON. */
export function instanceJson(report: InstanceReport): Instance {
  return {
    instance: report.instance,
    host: report.host,
    pid: report.pid,
    worker: report.worker,
    version: report.version,
    started_ms: report.startedMs,
    cpu_seconds: report.cpuSeconds,
    resident_bytes: report.residentBytes,
    event_loop_lag_ms: report.eventLoopLagMs,
    reported_ms: report.reportedMs,
    rate: report.rate,
    streams: report.streams,
    connections: report.connections,
    max_connections: report.maxConnections,
    accepting: report.accepting,
    queue_packets: report.queuePackets,
    queue_max_packets: report.queueMaxPackets,
    received: report.received,
    stored: report.stored,
    duplicates: report.duplicates,
    fenced: report.fenced,
    sessions_reverted: report.sessionsReverted,
    packets_lost: report.packetsLost,
    rejected: { ...report.rejected },
    queue_full: report.queueFull,
    failed_flushes: report.failedFlushes,
    connections_cut: report.connectionsCut,
    connections_refused: report.connectionsRefused,
    calls_refused: report.callsRefused,
    streams_reset: report.streamsReset,
    log_lines_dropped: report.logLinesDropped,
    clock_ahead_ms: report.clockAheadMs,
    fast_path: report.fastPath,
    ingest_address: report.ingestAddress,
  };
}
