/**
 * A table of metrics in Prometheus's text format.
 *
 * @module
 */
import type { Metric, MetricTable, Report } from "../../metrics/metric.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";
import { escapeLabelValue, metric, type Sample } from "./prometheus_text.ts";

/** One family for each line of the table that has a name in Prometheus, with the samples of each process. */
export function* formatTable<Table extends MetricTable>(
  prefix: string,
  table: Table,
  reports: readonly (readonly [labels: string, report: Report<Table>])[],
): Generator<string> {
  for (const [name, { type, prometheus, description, reasons }] of Object.entries(table)) {
    if (prometheus === undefined) continue;
    const kind = prometheus.endsWith("_total") ? "counter" : "gauge";
    const divisor = name.endsWith("Ms") ? 1_000 : 1;
    const samples = reports.flatMap(([labels, report]) =>
      samplesOf(type, labels, report[name], divisor, reasons)
    );
    yield metric(`${prefix}${prometheus}`, kind, `${description}.`, samples);
  }
}

const rejectReasons = Object.values(RejectReason).filter((reason) => typeof reason === "string");

function samplesOf(
  type: Metric["type"],
  labels: string,
  value: unknown,
  divisor: number,
  reasons: readonly string[] = rejectReasons,
): Sample[] {
  if (type !== "countsByReason") return [[labels, Number(value) / divisor]];
  // From 0, so that the first one is an increase; a newer ingest may report more reasons.
  const counts = value as Readonly<Record<string, number>>;
  return [...new Set([...reasons, ...Object.keys(counts)])].map((reason): Sample => {
    const label = `reason="${escapeLabelValue(reason)}"`;
    return [labels === "" ? label : `${labels},${label}`, counts[reason] ?? 0];
  });
}
