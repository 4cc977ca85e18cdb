/**
 * Which of the reports that a store holds count.
 *
 * @module
 */
import { INSTANCE_EXPIRY_MS, type InstanceReport } from "./store.ts";

/** The reports, given as JSON, that are not older than {@linkcode INSTANCE_EXPIRY_MS}, nor of a clock that was set back since, by host, address and worker. */
export function currentReports(reports: readonly string[], nowMs: number): readonly InstanceReport[] {
  const place = ({ host, ingestAddress, worker, instance }: InstanceReport) =>
    [host, ingestAddress, String(worker).padStart(5, "0"), instance].join("\n");
  return reports
    .map((report) => JSON.parse(report) as InstanceReport)
    .filter(({ reportedMs }) => Math.abs(nowMs - reportedMs) <= INSTANCE_EXPIRY_MS)
    .sort((a, b) => place(a) < place(b) ? -1 : 1);
}
