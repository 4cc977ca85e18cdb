/**
 * How the tables of metrics are written, and what follows from a table: the type of a report, its counters, and the
 * values that an older report lacks. A table is a constant whose keys are the names of the values in TypeScript.
 *
 * @module
 */

/** The values of each {@linkcode Metric.type}. */
export interface MetricValues {
  /** A whole number from 0 up that the process counts; its counters object has a field for it. */
  readonly counter: number;
  /** A whole number from 0 up that is read elsewhere when the process reports. */
  readonly count: number;
  /** A whole number. */
  readonly integer: number;
  /** A number from 0 up. */
  readonly number: number;
  /** A time, Unix milliseconds. */
  readonly unixMs: number;
  /** True or false; 1 or 0 in Prometheus. */
  readonly flag: boolean;
  /** Text; not in Prometheus. */
  readonly text: string;
  /** Counts by the name of a reason, such as a `RejectReason`; those that never occurred may be left out. */
  readonly countsByReason: Readonly<Record<string, number>>;
  /** How often a value fell into each of the ranges that {@linkcode Metric.bounds} divide. */
  readonly histogram: HistogramReport;
}

/** A distribution of values. */
export interface HistogramReport {
  /** By range: those up to the first bound, those above it up to the second, and so on; last, those above all bounds. */
  readonly counts: readonly number[];
  /** Of all values, in the unit of the bounds. */
  readonly sum: number;
}

/** One line of a table. */
export interface Metric {
  /** What kind of value it is. */
  readonly type: keyof MetricValues;
  /** What it means, without a full stop: the description in OpenAPI and the HELP line in Prometheus. */
  readonly description: string;
  /**
   * Name in Prometheus, after the table's prefix; absent: it is not there. By Prometheus's conventions a name that
   * ends in `_total` is a counter's and any other a gauge's, and times are in seconds: a value whose name here ends in
   * `Ms` is divided by 1,000.
   */
  readonly prometheus?: string;
  /** What it is in a report of an older Tally that lacks it; default: 0, false, no text, no counts. */
  readonly absent?: boolean | string;
  /** Of counts by reason: the reasons known, which have a sample in Prometheus from 0 on. */
  readonly reasons?: readonly string[];
  /** Of a histogram: the upper bounds of its ranges, ascending, in the unit of its name. Never changed: take a new name. */
  readonly bounds?: readonly number[];
  /**
   * Of a counter of packets: what became of them. In Prometheus the lines that have an outcome are one family besides,
   * `packets_total`, by outcome; each packet received gets exactly one.
   */
  readonly outcome?: string;
}

/** A table of metrics. */
export type MetricTable = Readonly<Record<string, Metric>>;

/** The values of all lines of a table. */
export type Report<Table extends MetricTable> = {
  readonly [Name in keyof Table]: MetricValues[Table[Name]["type"]];
};

/** The names of a table's lines of type `histogram`. */
export type HistogramName<Table extends MetricTable> = {
  [Name in keyof Table]: Table[Name]["type"] extends "histogram" ? Name : never;
}[keyof Table];

/** The names of a table's lines of type `counter`. */
export type CounterName<Table extends MetricTable> = {
  [Name in keyof Table]: Table[Name]["type"] extends "counter" ? Name : never;
}[keyof Table];

const zero: MetricValues = {
  counter: 0,
  count: 0,
  integer: 0,
  number: 0,
  unixMs: 0,
  flag: false,
  text: "",
  countsByReason: {},
  histogram: { counts: [], sum: 0 },
};

/** The report of a process that reports nothing: see {@linkcode Metric.absent}. */
export function absentReport<Table extends MetricTable>(table: Table): Report<Table> {
  return Object.fromEntries(
    Object.entries(table).map(([name, { type, absent }]) => [name, absent ?? zero[type]]),
  ) as Report<Table>;
}

/** The names of a table's lines of type `counter`, in its order. */
export function counterNames<Table extends MetricTable>(table: Table): CounterName<Table>[] {
  return Object.keys(table).filter((name) => table[name]!.type === "counter") as CounterName<Table>[];
}

/** The names of a table's lines of type `histogram`, in its order. */
export function histogramNames<Table extends MetricTable>(table: Table): HistogramName<Table>[] {
  return Object.keys(table).filter((name) => table[name]!.type === "histogram") as HistogramName<Table>[];
}
