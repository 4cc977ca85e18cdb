/**
 * Which of the reports that a store holds count.
 *
 * @module
 */
import { INSTANCE_EXPIRY_MS, type InstanceReport } from "../instances.ts";

/** What the reports of an older Tally, at work beside this one, lack. */
const notReported = {
  version: "unknown",
  cpuSeconds: 0,
  residentBytes: 0,
  eventLoopLagMs: 0,
  maxConnections: 0,
  accepting: true,
  connectionsRefused: 0,
  logLinesDropped: 0,
  streamsReset: 0,
  sessionsReverted: 0,
  packetsLost: 0,
  clockAheadMs: 0,
};

/** The reports, given as JSON, that are not older than {@linkcode INSTANCE_EXPIRY_MS}, nor of a clock that was set back since, by host, address and worker. */
export function currentReports(reports: readonly string[], nowMs: number): readonly InstanceReport[] {
  const place = ({ host, ingestAddress, worker, instance }: InstanceReport) =>
    [host, ingestAddress, String(worker).padStart(5, "0"), instance].join("\n");
  return reports
    .map((report): InstanceReport => ({ ...notReported, ...JSON.parse(report) }))
    .filter(({ reportedMs }) => Math.abs(nowMs - reportedMs) <= INSTANCE_EXPIRY_MS)
    .sort((a, b) => place(a) < place(b) ? -1 : 1);
}
