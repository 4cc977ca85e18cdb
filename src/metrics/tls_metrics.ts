/**
 * What both roles report of the TLS files that they use.
 *
 * @module
 */
import type { MetricTable } from "./metric.ts";

/** Lines of the tables of both roles. */
export const tlsFileMetrics = {
  tlsCertificateExpiresMs: {
    type: "integer",
    prometheus: "tls_certificate_expires_seconds",
    description: "Time until the TLS certificate in use ends, negative after that; 0 without TLS",
  },
  tlsReloadFailed: {
    type: "flag",
    prometheus: "tls_reload_failed",
    description: "Whether the TLS files have changed and cannot be used, so that the former ones are in use",
  },
} as const satisfies MetricTable;
