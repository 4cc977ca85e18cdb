/**
 * A table of metrics as JSON: its schema, and a report under the names that readers see.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import type { Metric, MetricTable, MetricValues, Report } from "../../metrics/metric.ts";
import { count } from "./fields.ts";

/** `queueMaxPackets` becomes `queue_max_packets`. */
export type SnakeCase<Name extends string> = Name extends `${infer Letter}${infer Rest}`
  ? `${Letter extends Lowercase<Letter> ? Letter : `_${Lowercase<Letter>}`}${SnakeCase<Rest>}`
  : "";

/** The values of a table's metrics, by the names readers see. */
export type MetricRow<Table extends MetricTable> = {
  readonly [Name in keyof Table & string as SnakeCase<Name>]: MetricValues[Table[Name]["type"]];
};

const schemas: { readonly [Type in keyof MetricValues]: z.ZodType<MetricValues[Type]> } = {
  counter: count,
  count,
  integer: z.int(),
  number: z.number().min(0),
  unixMs: z.number().min(0),
  flag: z.boolean(),
  text: z.string(),
  countsByReason: z.record(z.string(), count),
  histogram: z.object({ counts: z.array(count), sum: z.number().min(0) }),
};

/** The schema of what {@linkcode metricRow} returns. */
export function metricSchema<Table extends MetricTable>(table: Table): z.ZodType<MetricRow<Table>> {
  const described = (metric: Metric) => schemas[metric.type].openapi({ description: describe(metric) });
  const fields = Object.entries(table).map(([name, metric]) => [snakeCase(name), described(metric)]);
  return z.object(Object.fromEntries(fields)) as unknown as z.ZodType<MetricRow<Table>>;
}

function describe({ type, description, bounds = [] }: Metric): string {
  if (type === "unixMs") return `${description}, Unix milliseconds`;
  if (type !== "histogram") return description;
  return `${description}: counts of values up to ${bounds.join(", ")}, and above; and the sum of all values`;
}

/** A report as readers see it. Metrics that the table lacks, those of a newer process, are left out. */
export function metricRow<Table extends MetricTable>(table: Table, report: Report<Table>): MetricRow<Table> {
  const fields = Object.keys(table).map((name) => [snakeCase(name), report[name]]);
  return Object.fromEntries(fields) as MetricRow<Table>;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
