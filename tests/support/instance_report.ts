/**
 * Reports of ingest processes that no test has to write out.
 *
 * @module
 */
import { ingestMetrics, type InstanceReport } from "../../src/metrics/ingest_metrics.ts";
import type { Metric } from "../../src/metrics/metric.ts";

/** A report of which every number is another one; `values` replace some of it. */
export function instanceReport(values: Partial<InstanceReport> = {}): InstanceReport {
  const valueOf = ({ type, bounds = [] }: Metric, name: string, index: number) => {
    if (type === "text") return name;
    if (type === "flag") return true;
    if (type === "histogram") return { counts: [...bounds, 0].map((_, i) => i + index), sum: 1000 * index };
    return type === "countsByReason" ? { PAYLOAD_TOO_LARGE: 101 + index } : 101 + index;
  };
  const report = Object.fromEntries(
    Object.entries<Metric>(ingestMetrics).map((
      [name, metric],
      index,
    ) => [name, valueOf(metric, name, index)]),
  ) as unknown as InstanceReport;
  return { ...report, ...values };
}
