/**
 * What the api process that answers reports of itself, in `/fleet` and in Prometheus's `/metrics`: one line for each
 * value.
 *
 * @module
 */
import type { MetricTable, Report } from "./metric.ts";
import { tlsFileMetrics } from "./tls_metrics.ts";

/**
 * Why a request was refused: it had no token, no bearer token in its header, an unknown or revoked one, one without the
 * scope; or it was one of too many failed ones from its address.
 */
export const READER_AUTH_FAILURES = ["missing", "malformed", "unknown", "scope", "slowed"] as const;

/** One of {@linkcode READER_AUTH_FAILURES}. */
export type ReaderAuthFailure = typeof READER_AUTH_FAILURES[number];

/** Names in Prometheus begin with `tally_api_`. Counters count from the start of the process. */
export const apiMetrics = {
  connections: { type: "count", prometheus: "connections", description: "Readers' connections open" },
  maxConnections: {
    type: "count",
    prometheus: "max_connections",
    description: "Readers' connections that may be open: TALLY_HTTP_MAX_CONNECTIONS",
  },
  connectionsRefused: {
    type: "count",
    prometheus: "connections_refused_total",
    description: "Connections closed at once for want of room",
  },
  connectionsCut: {
    type: "count",
    prometheus: "connections_cut_total",
    description: "Connections closed at a deadline, or to make room for another one",
  },
  tls: { type: "flag", prometheus: "tls", description: "Whether the readers' port has TLS" },
  tlsHandshakes: {
    type: "count",
    prometheus: "tls_handshakes_total",
    description: "TLS handshakes completed",
  },
  tlsHandshakesFailed: {
    type: "count",
    prometheus: "tls_handshakes_failed_total",
    description: "TLS handshakes that failed, timed out, or were of clients that do not use TLS",
  },
  ...tlsFileMetrics,
  authFailures: {
    type: "countsByReason",
    prometheus: "auth_failures_total",
    description: "Requests refused for their credentials, by reason",
    reasons: READER_AUTH_FAILURES,
  },
  anonymousAccess: {
    type: "flag",
    prometheus: "anonymous_access",
    description:
      "Whether clients of other machines may read and remove without a token: TALLY_ALLOW_ANONYMOUS",
  },
  logLinesDropped: {
    type: "count",
    prometheus: "log_lines_dropped_total",
    description: "Log lines dropped because their reader was too slow",
  },
} as const satisfies MetricTable;

/** What an api process reports of itself. */
export type ApiReport = Report<typeof apiMetrics>;
