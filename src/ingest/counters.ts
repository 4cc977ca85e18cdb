/**
 * What an ingest process has counted since it started. Every packet received ends in exactly one of `stored`,
 * `duplicates`, `rejected` and `fenced`; the rest of `received` waits for the store.
 *
 * @module
 */
import { Http2Counters } from "../http2/counters.ts";
import { AUTH_FAILURES, type AuthFailure } from "../identity/auth_error.ts";
import { Histogram } from "../metrics/histogram.ts";
import {
  type IngestCounterName,
  type IngestHistogramName,
  ingestMetrics,
  type InstanceReport,
} from "../metrics/ingest_metrics.ts";
import { counterNames, histogramNames, type HistogramReport } from "../metrics/metric.ts";
import { RejectReason } from "../protocol/reject_reason.ts";

/** The counters and distributions of the metrics table, and what is counted besides. */
export type IngestCounters =
  & { -readonly [Name in IngestCounterName]: number }
  & { readonly [Name in IngestHistogramName]: Histogram }
  & {
    /** Packets rejected, by reason. */
    readonly rejected: Map<RejectReason, number>;
    /** Calls refused, and streams ended, for their credentials. */
    readonly authFailures: Map<AuthFailure, number>;
    /** Of the connections. */
    readonly http2: Http2Counters;
    /** Streams opened. */
    streams: number;
    /** Streams open now. */
    openStreams: number;
    /** Streams opened that the fast path serves. */
    fastPathStreams: number;
    /** Streams opened that grpc-js serves. */
    grpcJsStreams: number;
    /** Batches stored. */
    flushes: number;
  };

const names = counterNames(ingestMetrics), distributions = histogramNames(ingestMetrics);
const zeros = Object.fromEntries(names.map((name) => [name, 0])) as Record<IngestCounterName, number>;
const allReasons = Object.values(RejectReason).filter((reason) => typeof reason === "number");

/** Counters at 0. */
export function createCounters(): IngestCounters {
  const histograms = Object.fromEntries(
    distributions.map((name) => [name, new Histogram(ingestMetrics[name].bounds)]),
  ) as Record<IngestHistogramName, Histogram>;
  return {
    ...zeros,
    ...histograms,
    rejected: new Map(allReasons.map((reason) => [reason, 0])),
    authFailures: new Map(AUTH_FAILURES.map((failure) => [failure, 0])),
    http2: new Http2Counters(),
    streams: 0,
    openStreams: 0,
    fastPathStreams: 0,
    grpcJsStreams: 0,
    flushes: 0,
  };
}

/** The part of an {@linkcode InstanceReport} that is counted. */
export type CountedReport = Pick<
  InstanceReport,
  | IngestCounterName
  | IngestHistogramName
  | "streams"
  | "streamsOpened"
  | "rejected"
  | "authFailures"
  | "connectionsCut"
  | "callsRefused"
  | "streamsReset"
>;

/** The counters under the names of the metrics table. */
export function countedReport(counters: IngestCounters): CountedReport {
  const { openStreams, streams, rejected, authFailures, http2 } = counters;
  const { connectionsCut, callsRefused, streamsReset } = http2;
  const counted = Object.fromEntries(names.map((name) => [name, counters[name]]));
  const distributed = Object.fromEntries(distributions.map((name) => [name, counters[name].report()]));
  return {
    ...counted as Record<IngestCounterName, number>,
    ...distributed as Record<IngestHistogramName, HistogramReport>,
    streams: openStreams,
    streamsOpened: streams,
    connectionsCut,
    callsRefused,
    streamsReset,
    authFailures: Object.fromEntries(authFailures.entries().filter(([, calls]) => calls > 0)),
    rejected: Object.fromEntries(
      Array.from(rejected, ([reason, packets]) => [RejectReason[reason], packets] as const)
        .filter(([, packets]) => packets > 0),
    ),
  };
}
