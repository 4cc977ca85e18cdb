/**
 * The rows of an export: read page by page, while the fleet changes.
 *
 * @module
 */
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import { labelsJson } from "../../fleet/label_index.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import type { ExportParameters } from "../schemas/export.ts";
import type { Cell } from "./csv_writer.ts";
import { type ExportedDevices, idPages } from "./exported_devices.ts";

/** What exports read. */
export interface ExportSources {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has what they measured last. */
  readonly values: FleetValues;
  /** Has what was over time. */
  readonly store: Pick<Store, "history" | "latestValues" | "valueHistory">;
  /** The time of packets. */
  readonly clock: Clock;
}

/** Some rows. */
export interface ExportPage {
  /** As lines of NDJSON have them. */
  readonly rows: readonly Row[];
  /** How many devices they are of. */
  readonly devices: number;
}

/** A row; `tags` and `values` are by key and name. */
export type Row = Readonly<Record<string, Cell | Readonly<Record<string, Cell>>>>;

/** One kind of export. */
export interface ExportTable {
  /** The head of CSV. What is in `tags` and `values` of a row has columns such as `tag:site`, `value:temperature`. */
  readonly columns: readonly string[];
  /** All rows, in the order of the devices' ids. Rejects as the store does. */
  pages(): AsyncGenerator<ExportPage>;
}

/** Devices of a page, whose rows are made at once: 2 ms of work. */
const PAGE_DEVICES = 500;

/** Histories that are read at once, each some 20 µs of Redis's time. */
const PAGE_HISTORIES = 50;

/** The table that is asked for, of these devices. */
export function exportTable(
  sources: ExportSources,
  devices: ExportedDevices,
  parameters: ExportParameters,
): ExportTable {
  switch (parameters.what) {
    case "devices":
      return deviceTable(sources, devices);
    case "histories":
      return {
        columns: ["device_id", "period", "start_ms", "packets"],
        pages: () => historyPages(sources, devices, parameters),
      };
    case "values":
      return {
        columns: ["device_id", "name", "period", "start_ms", "min", "mean", "max"],
        pages: () => valuePages(sources, devices, parameters),
      };
    case "attributes":
      return {
        columns: ["device_id", "name", "value"],
        pages: () => attributePages(sources, devices),
      };
  }
}

/** The cell of a row in a column. */
export function cellOf(row: Row, column: string): Cell {
  const [, kind, name] = /^(tag|value):([^]*)$/.exec(column) ?? [];
  if (kind === undefined) return row[column] as Cell;
  const cells = row[`${kind}s`] as Readonly<Record<string, Cell>>;
  return Object.hasOwn(cells, name!) ? cells[name!]! : null;
}

function deviceTable({ fleet, values, clock }: ExportSources, devices: ExportedDevices): ExportTable {
  const names = values.names().map(({ name }) => name);
  const { index, labels } = fleet;
  const rowOf = (slot: number, nowMs: number, readers: ReturnType<FleetValues["reader"]>[]): Row => {
    const view = index.viewAt(slot, nowMs), numbers: [string, number][] = [];
    for (let i = 0; i < names.length; i++) {
      const value = readers[i]!(slot);
      if (value !== undefined) numbers.push([names[i]!, value]);
    }
    return {
      device_id: view.deviceId,
      ...labelsJson(labels.of(view.deviceId)),
      status: view.online ? "online" : "offline",
      count: view.count,
      rate_1m: view.rate1m,
      first_seen_ms: view.firstSeenMs,
      last_seen_ms: view.lastSeenMs,
      timestamp_ms: view.timestampMs,
      values: Object.fromEntries(numbers),
    };
  };
  return {
    columns: [
      ...["device_id", "name", "status", "count", "rate_1m", "first_seen_ms", "last_seen_ms", "timestamp_ms"],
      ...labels.keys().map((key) => `tag:${key}`),
      ...names.map((name) => `value:${name}`),
    ],
    async *pages() {
      for (const ids of idPages(devices, PAGE_DEVICES)) {
        await fleet.refresh({ keepWarm: true });
        await values.refresh();
        const nowMs = clock.unixMs(), readers = names.map((name) => values.reader(name));
        const slots = ids.map((id) => index.slotOf(id)).filter((slot) => slot !== undefined);
        yield { rows: slots.map((slot) => rowOf(slot, nowMs, readers)), devices: slots.length };
      }
    },
  };
}

/** Whether a period is asked for. */
function isWithin({ from = 0, to = Infinity }: ExportParameters, startMs: number): boolean {
  return startMs >= from && startMs < to;
}

/** The periods with packets. */
async function* historyPages(
  { store, clock }: ExportSources,
  devices: ExportedDevices,
  parameters: ExportParameters,
): AsyncGenerator<ExportPage> {
  for (const ids of idPages(devices, PAGE_HISTORIES)) {
    const nowMs = clock.unixMs(), rows: Row[] = [];
    const histories = await Promise.all(ids.map((id) => store.history(id, nowMs)));
    for (const [i, history] of histories.entries()) {
      for (const [period, periods] of [["hour", history?.hours], ["minute", history?.minutes]] as const) {
        for (const { startMs, packets } of periods ?? []) {
          if (packets === 0 || !isWithin(parameters, startMs)) continue;
          rows.push({ device_id: ids[i]!, period, start_ms: startMs, packets });
        }
      }
    }
    yield { rows, devices: histories.filter((history) => history !== undefined).length };
  }
}

/** Of each device the values that it has now. */
async function* valuePages(
  { fleet, values, store }: ExportSources,
  devices: ExportedDevices,
  parameters: ExportParameters,
): AsyncGenerator<ExportPage> {
  const names = values.names().map(({ name }) => name);
  for (const ids of idPages(devices, PAGE_HISTORIES)) {
    await fleet.refresh({ keepWarm: true });
    await values.refresh();
    // One device may have many values: their histories are rows of a page of their own.
    for (const id of ids) {
      const slot = fleet.index.slotOf(id);
      if (slot === undefined) continue;
      const own = names.filter((name) => values.reader(name)(slot) !== undefined);
      const histories = await Promise.all(own.map((name) => store.valueHistory(id, name)));
      const rows: Row[] = [];
      for (const [i, history] of histories.entries()) {
        for (const [period, periods] of [["hour", history?.hours], ["minute", history?.minutes]] as const) {
          for (const { startMs, min, mean, max } of periods ?? []) {
            if (!isWithin(parameters, startMs)) continue;
            rows.push({ device_id: id, name: own[i]!, period, start_ms: startMs, min, mean, max });
          }
        }
      }
      yield { rows, devices: 1 };
    }
  }
}

/** The texts that each device reported last. */
async function* attributePages(
  { fleet, store }: ExportSources,
  devices: ExportedDevices,
): AsyncGenerator<ExportPage> {
  for (const ids of idPages(devices, PAGE_DEVICES)) {
    await fleet.refresh({ keepWarm: true });
    const known = ids.filter((id) => fleet.index.slotOf(id) !== undefined);
    const found = await store.latestValues(known);
    const rows = known.flatMap((id) =>
      found.get(id)?.attributes.map(({ name, value }) => ({ device_id: id, name, value })) ?? []
    );
    yield { rows, devices: known.length };
  }
}
