/**
 * What all devices measure, in memory, in columns: a name is an array of numbers by the slots of the device index.
 *
 * It is read when someone needs it: of devices whose values changed since only, at most every `MAX_AGE_MS`, once for
 * all callers.
 *
 * @module
 */
import type { Clock } from "../runtime/clock.ts";
import { MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { DeviceValues, ValueStore } from "../store/values.ts";
import type { DeviceIndex } from "./device_index.ts";
import { grown } from "./device_intervals.ts";

/** No request is answered with what was read earlier than this before it came. */
const MAX_AGE_MS = 250;

/** Names with a column, and numbers in all columns, at most: 256 MB. Values of further names are left out. */
const MAX_COLUMNS = 256, MAX_CELLS = 2 ** 25;

/** Cells of devices that were removed are cleared this often. */
const SWEEP_INTERVAL_MS = 60_000;

/** One name of all devices. */
interface Column {
  /** By slot; NaN: the device does not have it. */
  cells: Float64Array<ArrayBuffer>;
  /** How many have it. */
  devices: number;
}

/** Receives what changed, by id; undefined: the device has no values any more. */
export type ValueListener = (changed: ReadonlyMap<string, DeviceValues | undefined>) => void;

/** What {@linkcode FleetValues} needs. */
export interface FleetValuesOptions {
  /** Where the values are read. */
  readonly store: Pick<ValueStore, "latestValues" | "valueChanges">;
  /** Numbers the devices. */
  readonly index: DeviceIndex;
  /** To measure durations. */
  readonly clock: Clock;
}

/** See the module. */
export class FleetValues {
  readonly #options: FleetValuesOptions;
  readonly #columns = new Map<string, Column>();
  /** By slot: the device that its cells are of. */
  readonly #owners: (string | undefined)[] = [];
  /** By slot: rises whenever its cells are written. */
  #versions = new Uint32Array(1_024);
  readonly #listeners = new Set<ValueListener>();
  #omitted = 0;
  #cursor: string | undefined;
  #readAtMs = -Infinity;
  #sweptAtMs = -Infinity;
  #reading: Promise<void> | undefined;

  /** Holds nothing yet. */
  constructor(options: FleetValuesOptions) {
    this.#options = options;
  }

  /** Values that have no column, for there are too many names; as of the last time that each was read. */
  get omitted(): number {
    return this.#omitted;
  }

  /**
   * Resolves when the columns have what the store had 250 ms before this call. The index must have the devices:
   * refresh it first. Rejects as the store does.
   */
  refresh(): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#readAtMs <= MAX_AGE_MS) return Promise.resolve();
    return this.#reading ??= this.#read(nowMs).finally(() => this.#reading = undefined);
  }

  /** Has `listener` called with what each read finds changed; returns what ends that. */
  subscribe(listener: ValueListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All names, those that most devices have first; names of equally many in their own order. */
  names(): { readonly name: string; readonly devices: number }[] {
    const names = Array.from(this.#columns, ([name, { devices }]) => ({ name, devices }));
    return names.sort((a, b) => b.devices - a.devices || (a.name < b.name ? -1 : 1));
  }

  /** What reads the value of a name by slot; undefined: the device does not have it. */
  reader(name: string): (slot: number) => number | undefined {
    const { index } = this.#options, column = this.#columns.get(name);
    return (slot) => {
      const value = column?.cells[slot];
      return value === undefined || Number.isNaN(value) || this.#owners[slot] !== index.idAt(slot)
        ? undefined
        : value;
    };
  }

  /** What reads the values of these names by slot, those that the device has. */
  rowReader(names: readonly string[]): (slot: number) => Record<string, number> {
    const readers = names.map((name) => [name, this.reader(name)] as const);
    // Defines `__proto__` as any other name.
    return (slot) =>
      Object.fromEntries(readers.flatMap(([name, valueAt]) => {
        const value = valueAt(slot);
        return value === undefined ? [] : [[name, value]];
      }));
  }

  /** Rises with each change of the values of the device in `slot`. */
  versionAt(slot: number): number {
    return this.#versions[slot] ?? 0;
  }

  async #read(startedAtMs: number): Promise<void> {
    const { store, index } = this.#options;
    const { cursor, deviceIds } = await store.valueChanges(this.#cursor);
    const isAll = deviceIds === "all";
    const ids = isAll ? [...index.sorted().ids] : deviceIds;
    if (isAll) this.#omitted = 0;
    for (let start = 0; start < ids.length; start += MAX_IDS_PER_CALL) {
      const page = ids.slice(start, start + MAX_IDS_PER_CALL);
      this.#update(page, await store.latestValues(page));
    }
    if (startedAtMs - this.#sweptAtMs >= SWEEP_INTERVAL_MS) this.#sweep(startedAtMs);
    // A name that no device has any more makes room for others.
    for (const [name, { devices }] of this.#columns) if (devices === 0) this.#columns.delete(name);
    this.#cursor = cursor;
    this.#readAtMs = startedAtMs;
  }

  #update(deviceIds: readonly string[], found: ReadonlyMap<string, DeviceValues>): void {
    const { index } = this.#options;
    const changed = new Map<string, DeviceValues | undefined>();
    for (const deviceId of deviceIds) {
      const values = found.get(deviceId), slot = index.slotOf(deviceId);
      changed.set(deviceId, values);
      if (slot !== undefined) this.#set(slot, deviceId, values);
    }
    for (const listener of this.#listeners) listener(changed);
  }

  #set(slot: number, deviceId: string, values: DeviceValues | undefined): void {
    this.#clear(slot);
    this.#owners[slot] = values && deviceId;
    if (slot >= this.#versions.length) {
      this.#versions = grown(this.#versions, new Uint32Array(lengthFor(slot)));
    }
    this.#versions[slot]!++;
    for (const { name, value } of values?.values ?? []) {
      const column = this.#columns.get(name) ?? this.#addColumn(name);
      if (column === undefined) {
        this.#omitted++;
        continue;
      }
      if (slot >= column.cells.length) column.cells = withCells(column.cells, slot);
      column.cells[slot] = value;
      column.devices++;
    }
  }

  /** The cells of a slot that has another device now, or other values. */
  #clear(slot: number): void {
    if (this.#owners[slot] === undefined) return;
    for (const column of this.#columns.values()) {
      if (Number.isNaN(column.cells[slot] ?? NaN)) continue;
      column.cells[slot] = NaN;
      column.devices--;
    }
  }

  #sweep(nowMs: number): void {
    this.#sweptAtMs = nowMs;
    for (const [slot, owner] of this.#owners.entries()) {
      if (owner === undefined || this.#options.index.idAt(slot) === owner) continue;
      this.#clear(slot);
      this.#owners[slot] = undefined;
    }
  }

  #addColumn(name: string): Column | undefined {
    const { size } = this.#columns;
    if (size >= MAX_COLUMNS || (size + 1) * this.#owners.length > MAX_CELLS) return undefined;
    const column = { cells: new Float64Array(1_024).fill(NaN), devices: 0 };
    this.#columns.set(name, column);
    return column;
  }
}

function withCells(cells: Float64Array, slot: number): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(lengthFor(slot)).fill(NaN);
  grown.set(cells);
  return grown;
}

function lengthFor(slot: number): number {
  return 2 ** Math.ceil(Math.log2(slot + 1));
}
