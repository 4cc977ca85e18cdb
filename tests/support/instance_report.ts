/**
 * Reports of ingest processes that no test has to write out.
 *
 * @module
 */
import { ingestMetrics, type InstanceReport } from "../../src/metrics/ingest_metrics.ts";
import type { MetricValues } from "../../src/metrics/metric.ts";

/** A report of which every number is another one; `values` replace some of it. */
export function instanceReport(values: Partial<InstanceReport> = {}): InstanceReport {
  const valueOf = (type: keyof MetricValues, name: string, index: number) => {
    if (type === "text") return name;
    if (type === "flag") return true;
    return type === "countsByReason" ? { PAYLOAD_TOO_LARGE: 101 + index } : 101 + index;
  };
  const report = Object.fromEntries(
    Object.entries(ingestMetrics).map(([name, { type }], index) => [name, valueOf(type, name, index)]),
  ) as unknown as InstanceReport;
  return { ...report, ...values };
}
