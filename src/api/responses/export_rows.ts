/**
 * The rows of an export: read page by page, while the fleet changes.
 *
 * Which devices there are is fixed at the beginning; what is shown of a device is as fresh as its page. One that is
 * removed meanwhile is left out.
 *
 * @module
 */
import type { DeviceView } from "../../fleet/device_index.ts";
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import type { ExportParameters } from "../schemas/export.ts";
import { type Cell, csvLine } from "./csv.ts";

/** What exports read. */
export interface ExportSources {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has their histories. */
  readonly store: Pick<Store, "history">;
  /** The time of packets. */
  readonly clock: Clock;
}

/** A row, in the order of its columns: as an object it is a line of NDJSON. */
type Row = Readonly<Record<string, Cell>>;

/** The devices of an export. */
export interface ExportedDevices {
  /** By id. */
  readonly ids: readonly string[];
  /** How many of them match. */
  readonly total: number;
  /** Whether one is exported. */
  matches(deviceId: string): boolean;
}

/** Devices of a page, whose rows are made at once: 2 ms of work. */
const PAGE_DEVICES = 500;

/** Histories that are read at once, each some 20 µs of Redis's time. */
const PAGE_HISTORIES = 50;

/** The devices that there are now. Rejects as the store does. */
export async function exportedDevices(
  { fleet, clock }: ExportSources,
  { device, prefix, status }: ExportParameters,
): Promise<ExportedDevices> {
  await fleet.refresh({ keepWarm: true });
  const { index } = fleet, nowMs = clock.unixMs();
  const isKnown = (id: string) => index.slotOf(id) !== undefined;
  const ids = device === undefined ? index.sorted().ids : [device].filter(isKnown);
  const matches = (id: string) => {
    if (!id.startsWith(prefix)) return false;
    if (status === undefined) return true;
    const slot = index.slotOf(id);
    return slot !== undefined && index.onlineAt(slot, nowMs) === (status === "online");
  };
  let total = 0;
  for (const id of ids) if (matches(id)) total++;
  return { ids, total, matches };
}

/** The text of an export, in parts; the last one shows that it is whole. Rejects as the store does. */
export async function* exportText(
  sources: ExportSources,
  devices: ExportedDevices,
  parameters: ExportParameters,
): AsyncGenerator<string> {
  const { format, what, formulas } = parameters, guards = formulas === "guarded";
  const columns = what === "devices" ? deviceColumns : historyColumns;
  const line = format === "ndjson"
    ? (row: Row) => `${JSON.stringify(row)}\n`
    : (row: Row) => csvLine(columns.map((name) => row[name]!), guards);
  if (format === "csv") yield csvLine(columns, false);
  let rows = 0, exported = 0;
  const pages = what === "devices"
    ? devicePages(sources, devices)
    : historyPages(sources, devices, parameters);
  for await (const page of pages) {
    let text = "";
    for (const row of page.rows) text += line(row);
    rows += page.rows.length;
    exported += page.devices;
    if (text !== "") yield text;
  }
  yield format === "ndjson"
    ? `${JSON.stringify({ end: true, rows, devices: exported })}\n`
    : `# end: ${rows} rows, ${exported} devices\n`;
}

interface Page {
  readonly rows: readonly Row[];
  /** How many devices they are of. */
  readonly devices: number;
}

/** The ids that match, some at a time. */
function* idPages({ ids, matches }: ExportedDevices, size: number): Generator<string[]> {
  let page: string[] = [];
  for (const id of ids) {
    if (!matches(id)) continue;
    page.push(id);
    if (page.length < size) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

const deviceColumns = [
  "device_id",
  "status",
  "count",
  "rate_1m",
  "first_seen_ms",
  "last_seen_ms",
  "timestamp_ms",
] as const;

async function* devicePages(
  { fleet, clock }: ExportSources,
  devices: ExportedDevices,
): AsyncGenerator<Page> {
  for (const ids of idPages(devices, PAGE_DEVICES)) {
    await fleet.refresh({ keepWarm: true });
    const { index } = fleet, nowMs = clock.unixMs();
    const slots = ids.map((id) => index.slotOf(id)).filter((slot) => slot !== undefined);
    yield { rows: slots.map((slot) => deviceRow(index.viewAt(slot, nowMs))), devices: slots.length };
  }
}

function deviceRow(view: DeviceView): Row {
  const row: Record<typeof deviceColumns[number], Cell> = {
    device_id: view.deviceId,
    status: view.online ? "online" : "offline",
    count: view.count,
    rate_1m: view.rate1m,
    first_seen_ms: view.firstSeenMs,
    last_seen_ms: view.lastSeenMs,
    timestamp_ms: view.timestampMs,
  };
  return row;
}

const historyColumns = ["device_id", "period", "start_ms", "packets"] as const;

async function* historyPages(
  { store, clock }: ExportSources,
  devices: ExportedDevices,
  { from = 0, to = Infinity }: ExportParameters,
): AsyncGenerator<Page> {
  for (const ids of idPages(devices, PAGE_HISTORIES)) {
    const nowMs = clock.unixMs(), rows: Row[] = [];
    const histories = await Promise.all(ids.map((id) => store.history(id, nowMs)));
    for (const [i, history] of histories.entries()) {
      if (history === undefined) continue;
      for (const [period, periods] of [["hour", history.hours], ["minute", history.minutes]] as const) {
        for (const { startMs, packets } of periods) {
          if (packets === 0 || startMs < from || startMs >= to) continue;
          const row: Record<typeof historyColumns[number], Cell> = {
            device_id: ids[i]!,
            period,
            start_ms: startMs,
            packets,
          };
          rows.push(row);
        }
      }
    }
    yield { rows, devices: histories.filter((history) => history !== undefined).length };
  }
}
