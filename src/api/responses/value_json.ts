/**
 * Values of devices as JSON.
 *
 * @module
 */
import type { DeviceValues, ValueHistory, ValuePeriod } from "../../store/values.ts";
import type { Values, ValueSeries } from "../schemas/value.ts";

/** What a device measured last; undefined: it has no values. */
export function valuesJson(found: DeviceValues | undefined): Values {
  return {
    values: found?.values.map(({ name, value }) => ({ name, value })) ?? [],
    values_at_ms: found?.atMs ?? null,
    values_dropped: found?.dropped ?? 0,
    // Defines `__proto__` as any other name.
    attributes: Object.fromEntries(found?.attributes.map(({ name, value }) => [name, value]) ?? []),
  };
}

const MINUTE_MS = 60_000, HOUR_MS = 3_600_000;

/** Which part of a history to show. */
export interface SeriesRange {
  /** Beginning, Unix milliseconds; default: an hour before the end. */
  readonly from?: number | undefined;
  /** End, Unix milliseconds; default: now. */
  readonly to?: number | undefined;
  /** Length of the periods, seconds; default: the least. */
  readonly step?: number | undefined;
}

/** A value over time: of minutes, or of hours if the range begins before there are minutes. */
export function seriesJson(
  { deviceId, name }: { readonly deviceId: string; readonly name: string },
  history: ValueHistory,
  { from, to, step }: SeriesRange,
  nowMs: number,
): ValueSeries {
  const untilMs = to ?? nowMs, fromMs = Math.min(untilMs, from ?? Math.max(0, untilMs - HOUR_MS));
  const isOfMinutes = fromMs >= nowMs - HOUR_MS - MINUTE_MS;
  const unitMs = isOfMinutes ? MINUTE_MS : HOUR_MS;
  const stepMs = Math.max(1, Math.ceil((step ?? 0) * 1000 / unitMs)) * unitMs;
  const periods = (isOfMinutes ? history.minutes : history.hours)
    .filter(({ startMs }) => startMs + unitMs > fromMs && startMs <= untilMs);
  return {
    device_id: deviceId,
    name,
    from_ms: fromMs,
    until_ms: untilMs,
    step_seconds: stepMs / 1000,
    points: joined(periods, stepMs),
  };
}

/** Periods of the length `stepMs`, each of those that begin in it; their means have the same weight. */
function joined(periods: readonly ValuePeriod[], stepMs: number): ValueSeries["points"] {
  const groups = Map.groupBy(periods, ({ startMs }) => startMs - startMs % stepMs);
  return Array.from(groups, ([start_ms, group]) => ({
    start_ms,
    min: Math.min(...group.map(({ min }) => min)),
    mean: group.reduce((sum, { mean }) => sum + mean / group.length, 0),
    max: Math.max(...group.map(({ max }) => max)),
  }));
}
