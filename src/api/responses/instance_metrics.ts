/**
 * Metrics of the ingest processes, as they report them to the store.
 *
 * @module
 */
import { ingestMetrics, type InstanceReport } from "../../metrics/ingest_metrics.ts";
import { formatTable } from "../../metrics/metric_families.ts";
import { escapeLabelValue, metric, type Sample } from "../../metrics/prometheus_text.ts";

/** One family for each metric, with a sample for each ingest. */
export function* formatInstances(reports: readonly InstanceReport[]): Generator<string> {
  const instances = newestByLabel(reports);
  yield metric("tally_ingest_instances", "gauge", "Ingest processes at work.", [["", instances.length]]);
  const infos = instances.map(([label, { version }]): Sample => {
    return [`${label},version="${escapeLabelValue(version)}"`, 1];
  });
  yield metric("tally_ingest_build_info", "gauge", "Which program an ingest process is; always 1.", infos);
  yield* formatTable("tally_ingest_", ingestMetrics, instances);
}

/**
 * By a label that is stable across restarts of an ingest: its machine, the address it receives packets on, and its
 * number among workers. The report of a killed process and that of its successor exist together for some seconds.
 */
function newestByLabel(reports: readonly InstanceReport[]): [label: string, report: InstanceReport][] {
  const newest = new Map<string, InstanceReport>();
  for (const report of reports) {
    const { host, ingestAddress, worker } = report;
    const place = `${host}/${ingestAddress}${worker === 0 ? "" : `/${worker}`}`;
    const label = `ingest="${escapeLabelValue(place)}"`;
    if (report.startedMs >= (newest.get(label)?.startedMs ?? 0)) newest.set(label, report);
  }
  return [...newest];
}
