/**
 * Parts of Prometheus's text exposition format, version 0.0.4.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */

/** What Prometheus calls the type of a metric. */
export type MetricKind = "counter" | "gauge";

/** Labels as they stand between the braces, or none; and the value. */
export type Sample = readonly [labels: string, value: number];

/** A family with its samples. */
export function metric(name: string, kind: MetricKind, help: string, samples: readonly Sample[]): string {
  const line = ([labels, value]: Sample) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`;
  return family(name, kind, help) + samples.map(line).join("");
}

/** The head of a family. */
export function family(name: string, kind: MetricKind, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
}

/** A label value stands between quotes: backslash, quote and line feed are escaped, all else is itself. */
export function escapeLabelValue(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}
