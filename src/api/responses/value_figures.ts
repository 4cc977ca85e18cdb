/**
 * One value over all devices, now.
 *
 * @module
 */
import type { DeviceIndex } from "../../fleet/device_index.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import type { ValueFigures } from "../schemas/value.ts";

/** Which value, of which devices. */
export interface FiguresQuery {
  /** Of the value. */
  readonly name: string;
  /** Beginning of the devices' ids; empty: any. */
  readonly prefix: string;
  /** Whether a device has the tags; undefined: any has. */
  readonly hasTags: ((deviceId: string) => boolean) | undefined;
  /** Devices with the greatest values, and with the least. */
  readonly limit: number;
}

/** The figures of the devices that have the value. */
export function figuresJson(
  index: DeviceIndex,
  values: FleetValues,
  { name, prefix, hasTags = () => true, limit }: FiguresQuery,
): ValueFigures {
  const { ids, slots } = index.sorted(), valueAt = values.reader(name);
  const found: { readonly rank: number; readonly value: number }[] = [];
  for (let rank = 0; rank < slots.length; rank++) {
    const value = valueAt(slots[rank]!), id = ids[rank]!;
    if (value !== undefined && id.startsWith(prefix) && hasTags(id)) found.push({ rank, value });
  }
  const sorted = found.sort((a, b) => a.value - b.value);
  const row = ({ rank, value }: { readonly rank: number; readonly value: number }) => ({
    device_id: ids[rank]!,
    value,
  });
  return {
    name,
    devices: sorted.length,
    figures: sorted.length === 0 ? null : figuresOf(sorted.map(({ value }) => value)),
    top: sorted.slice(Math.max(0, sorted.length - limit)).reverse().map(row),
    bottom: sorted.slice(0, limit).map(row),
  };
}

/** `sorted`: at least one, ascending. */
function figuresOf(sorted: readonly number[]): NonNullable<ValueFigures["figures"]> {
  // By nearest rank: a value that a device has.
  const percentile = (percent: number) => sorted[Math.max(0, Math.ceil(sorted.length * percent / 100) - 1)]!;
  const least = sorted[0]!, greatest = sorted.at(-1)!;
  // Divided first: a sum may be no finite number.
  const mean = sorted.reduce((sum, value) => sum + value / sorted.length, 0);
  return {
    min: least,
    mean: Math.min(greatest, Math.max(least, mean)),
    max: greatest,
    p5: percentile(5),
    p50: percentile(50),
    p95: percentile(95),
    p99: percentile(99),
  };
}
