/**
 * A table of metrics in Prometheus's text format.
 *
 * @module
 */
import type { HistogramReport, Metric, MetricTable, Report } from "./metric.ts";
import { escapeLabelValue, histogram, metric, type Sample } from "./prometheus_text.ts";

/** The reports of a table's processes, each with the labels of its samples. */
export type LabelledReports<Table extends MetricTable> = readonly (readonly [
  labels: string,
  report: Report<Table>,
])[];

/** One family for each line of the table that has a name in Prometheus, with the samples of each process. */
export function* formatTable<Table extends MetricTable>(
  prefix: string,
  table: Table,
  reports: LabelledReports<Table>,
): Generator<string> {
  for (const [name, line] of Object.entries(table)) {
    const { type, prometheus, description, bounds = [] } = line;
    if (prometheus === undefined) continue;
    const family = `${prefix}${prometheus}`, help = `${description}.`;
    const divisor = name.endsWith("Ms") ? 1_000 : 1;
    if (type === "histogram") {
      const histograms = reports.map(([labels, report]) =>
        [labels, report[name] as HistogramReport] as const
      );
      yield histogram(family, help, bounds, divisor, histograms);
      continue;
    }
    const kind = prometheus.endsWith("_total") ? "counter" : "gauge";
    const samples = reports.flatMap(([labels, report]) => samplesOf(line, labels, report[name], divisor));
    yield metric(family, kind, help, samples);
  }
  yield* formatOutcomes(prefix, table, reports);
}

/** The lines that have an outcome as one family, see {@linkcode Metric.outcome}. */
function* formatOutcomes<Table extends MetricTable>(
  prefix: string,
  table: Table,
  reports: LabelledReports<Table>,
): Generator<string> {
  const outcomes = Object.entries(table).filter(([, { outcome }]) => outcome !== undefined);
  if (outcomes.length === 0) return;
  const samples = reports.flatMap(([labels, report]) =>
    outcomes.flatMap(([name, line]) =>
      samplesOf(line, joined(labels, `outcome="${line.outcome}"`), report[name], 1)
    )
  );
  const help = "Packets received, by what became of them: each in exactly one outcome, once it has one.";
  yield metric(`${prefix}packets_total`, "counter", help, samples);
}

function samplesOf(
  { type, reasons = [] }: Metric,
  labels: string,
  value: unknown,
  divisor: number,
): Sample[] {
  if (type !== "countsByReason") return [[labels, Number(value) / divisor]];
  // From 0, so that the first one is an increase; a newer ingest may report more reasons.
  const counts = value as Readonly<Record<string, number>>;
  return [...new Set([...reasons, ...Object.keys(counts)])].map((reason): Sample => {
    return [joined(labels, `reason="${escapeLabelValue(reason)}"`), counts[reason] ?? 0];
  });
}

function joined(...labels: readonly string[]): string {
  return labels.filter((label) => label !== "").join(",");
}
