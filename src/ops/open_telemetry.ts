/**
 * Tally's metrics and the spans of its batches for OpenTelemetry, through what Deno has built in: without
 * `OTEL_DENO=true` nothing is done here.
 *
 * @module
 */
import type { HistogramReport, Metric, MetricTable, Report } from "../metrics/metric.ts";
import { VERSION } from "../runtime/version.ts";

/** A batch that the store has. */
export interface FlushedBatch {
  /** Packets in it, whatever became of them. */
  readonly packets: number;
  /** Devices in it. */
  readonly devices: number;
  /** Time until the store had it, repeated attempts included. */
  readonly tookMs: number;
}

/** Attributes of a value or a span. */
export type Attributes = Readonly<Record<string, string | number>>;

interface Observed {
  observe(value: number, attributes?: Attributes): void;
}

interface Instrument {
  addCallback(callback: (observed: Observed) => void): void;
}

interface Tracer {
  startSpan(name: string, options: { startTime: number; attributes: Attributes }): { end(): void };
}

interface Meter {
  createObservableCounter(name: string, options: { description: string; unit?: string }): Instrument;
  createObservableGauge(name: string, options: { description: string; unit?: string }): Instrument;
}

/** The part of OpenTelemetry's interfaces that is used here; the types of Deno 2.9 leave them out. */
const { meterProvider, tracerProvider } = Deno.telemetry as unknown as {
  meterProvider: { getMeter(name: string, version: string): Meter };
  tracerProvider: { getTracer(name: string, version: string): Tracer };
};

const meter = startedMeter();

/** Undefined without `OTEL_DENO=true`: Deno throws then. Reading the variable would take one more permission. */
function startedMeter(): Meter | undefined {
  try {
    return meterProvider.getMeter("tally", VERSION);
  } catch {
    return undefined;
  }
}

/** Exports a batch that was stored just now as a span; undefined without OpenTelemetry. */
export const exportFlush: ((batch: FlushedBatch) => void) | undefined = meter && flushExporter();

function flushExporter() {
  const tracer = tracerProvider.getTracer("tally", VERSION);
  return ({ packets, devices, tookMs }: FlushedBatch) => {
    const attributes = { "tally.packets": packets, "tally.devices": devices };
    tracer.startSpan("tally.flush", { startTime: Date.now() - tookMs, attributes }).end();
  };
}

/**
 * Exports each line of the table that has a name in Prometheus, read when the exporter asks for it; of a distribution,
 * the number of its values and their sum.
 */
export function exportTable<Table extends MetricTable>(
  prefix: string,
  table: Table,
  attributes: Attributes,
  report: () => Report<Table>,
): void {
  if (meter === undefined) return;
  // One report for all instruments of one export.
  const latest = sharedForATurn(report);
  const add = (name: string, description: string, observe: (observed: Observed) => void) => {
    const create = /_(total|count|sum)$/.test(name) ? "createObservableCounter" : "createObservableGauge";
    meter[create](name, { description }).addCallback(observe);
  };
  for (const [key, line] of Object.entries<Metric>(table)) {
    if (line.prometheus === undefined) continue;
    const name = `${prefix}${line.prometheus}`, divisor = key.endsWith("Ms") ? 1_000 : 1;
    if (line.type === "histogram") {
      const value = () => latest()[key] as HistogramReport;
      const count = () => value().counts.reduce((sum, counted) => sum + counted, 0);
      add(`${name}_count`, line.description, (observed) => observed.observe(count(), attributes));
      add(`${name}_sum`, line.description, (observed) => observed.observe(value().sum / divisor, attributes));
    } else if (line.type === "countsByReason") {
      add(name, line.description, (observed) => {
        for (const [reason, count] of Object.entries(latest()[key] as Record<string, number>)) {
          observed.observe(count, { ...attributes, reason });
        }
      });
    } else {
      add(
        name,
        line.description,
        (observed) => observed.observe(Number(latest()[key]) / divisor, attributes),
      );
    }
  }
}

function sharedForATurn<T>(read: () => T): () => T {
  let value: { read: T } | undefined;
  return () => {
    if (value === undefined) {
      value = { read: read() };
      setTimeout(() => value = undefined, 0);
    }
    return value.read;
  };
}
