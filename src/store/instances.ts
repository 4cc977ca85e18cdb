/**
 * Which of the reports that a store holds count.
 *
 * @module
 */
import { INSTANCE_EXPIRY_MS, type InstanceReport } from "./store.ts";

/** The reports, given as JSON, that are not older than {@linkcode INSTANCE_EXPIRY_MS}, by host, address and worker. */
export function currentReports(reports: readonly string[], nowMs: number): readonly InstanceReport[] {
  const place = ({ host, ingestAddress, worker, instance }: InstanceReport) =>
    [host, ingestAddress, String(worker).padStart(5, "0"), instance].join("\n");
  return reports
    // Versions of Tally before this one did not report the first two.
    .map((report) => ({ sessionsReverted: 0, packetsLost: 0, ...JSON.parse(report) }) as InstanceReport)
    .filter(({ reportedMs }) => nowMs - reportedMs <= INSTANCE_EXPIRY_MS)
    .sort((a, b) => place(a) < place(b) ? -1 : 1);
}
