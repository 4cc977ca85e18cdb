/**
 * Values and tags of the fleet, as rules read them.
 *
 * @module
 */
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import type { TagFacts, ValueFacts } from "./facts.ts";

/** Reads values by name; the names are looked up anew with each read of the store. */
export function valueFacts(values: FleetValues): ValueFacts {
  return { valueAt: (slot, name) => values.reader(name)(slot) };
}

/** Reads tags, and notes whose labels change. */
export class LabelFacts implements TagFacts {
  readonly #fleet: Pick<FleetCache, "index" | "labels">;
  #changed = new Set<string>();

  /** Of this fleet; one at a time. */
  constructor(fleet: Pick<FleetCache, "index" | "labels">) {
    this.#fleet = fleet;
    fleet.labels.onChanged = (deviceId) => this.#changed.add(deviceId);
  }

  /** Devices whose labels changed since the call before. */
  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  tagAt(slot: number, key: string): string | undefined {
    const deviceId = this.#fleet.index.idAt(slot);
    if (deviceId === undefined) return undefined;
    return this.#fleet.labels.of(deviceId).tags.find((tag) => tag.key === key)?.value;
  }
}
