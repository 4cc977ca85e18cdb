/**
 * Parts of Prometheus's text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */
import type { HistogramReport } from "./metric.ts";

/** Media type of the format; a scraper chooses its parser by it. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** What Prometheus calls the type of a metric. */
export type MetricKind = "counter" | "gauge" | "histogram";

/** Labels as they stand between the braces, or none; and the value. */
export type Sample = readonly [labels: string, value: number];

/** A family with its samples. */
export function metric(name: string, kind: MetricKind, help: string, samples: readonly Sample[]): string {
  return family(name, kind, help) + lines(name, samples);
}

/** A family of histograms; `bounds` and sums are divided by `divisor`. A report that has other ranges is left out. */
export function histogram(
  name: string,
  help: string,
  bounds: readonly number[],
  divisor: number,
  reports: readonly (readonly [labels: string, report: HistogramReport])[],
): string {
  const known = reports.filter(([, { counts }]) => counts.length === bounds.length + 1);
  return family(name, "histogram", help) + known.map(([labels, { counts, sum }]) => {
    const more = labels === "" ? "" : `${labels},`;
    let total = 0;
    const buckets = counts.map((count, i): Sample => {
      const bound = i < bounds.length ? bounds[i]! / divisor : "+Inf";
      return [`${more}le="${bound}"`, total += count];
    });
    return lines(`${name}_bucket`, buckets) + lines(`${name}_sum`, [[labels, sum / divisor]]) +
      lines(`${name}_count`, [[labels, total]]);
  }).join("");
}

function lines(name: string, samples: readonly Sample[]): string {
  return samples.map(([labels, value]) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`).join("");
}

/** The head of a family. */
export function family(name: string, kind: MetricKind, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
}

/** A label value stands between quotes: backslash, quote and line feed are escaped, all else is itself. */
export function escapeLabelValue(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}
