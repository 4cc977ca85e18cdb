/**
 * Tags of the fleet, as rules read them.
 *
 * @module
 */
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { TagFacts } from "./facts.ts";

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
