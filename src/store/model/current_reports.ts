/**
 * Which of the reports that a store holds count.
 *
 * @module
 */
import { ingestMetrics, type InstanceReport } from "../../metrics/ingest_metrics.ts";
import { absentReport } from "../../metrics/metric.ts";
import { INSTANCE_EXPIRY_MS } from "../instances.ts";

/**
 * The reports, given as JSON, that are not older than {@linkcode INSTANCE_EXPIRY_MS}, nor of a clock that was set back
 * since, by host, address and worker. What a report of an older Tally lacks is as the metrics table has it.
 */
export function currentReports(reports: readonly string[], nowMs: number): readonly InstanceReport[] {
  const place = ({ host, ingestAddress, worker, instance }: InstanceReport) =>
    [host, ingestAddress, String(worker).padStart(5, "0"), instance].join("\n");
  return reports
    .map((report): InstanceReport => ({ ...absentReport(ingestMetrics), ...JSON.parse(report) }))
    .filter(({ reportedMs }) => Math.abs(nowMs - reportedMs) <= INSTANCE_EXPIRY_MS)
    .sort((a, b) => place(a) < place(b) ? -1 : 1);
}
