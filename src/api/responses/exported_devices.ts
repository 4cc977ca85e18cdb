/**
 * The devices of an export: which they are is fixed at the beginning. One that is removed meanwhile is left out.
 *
 * @module
 */
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ExportParameters } from "../schemas/export.ts";

/** See the module. */
export interface ExportedDevices {
  /** Among these, by id. */
  readonly ids: readonly string[];
  /** How many of them match. */
  readonly total: number;
  /** Whether one is exported. */
  matches(deviceId: string): boolean;
}

/** The devices that there are now. Rejects as the store does. */
export async function exportedDevices(
  { fleet, clock }: { readonly fleet: FleetCache; readonly clock: Clock },
  { device, prefix, status, tag }: ExportParameters,
): Promise<ExportedDevices> {
  await fleet.refresh({ keepWarm: true });
  const { index, labels } = fleet, nowMs = clock.unixMs();
  const ids = device === undefined
    ? index.sorted().ids
    : [device].filter((id) => index.slotOf(id) !== undefined);
  const hasTags = labels.matcher(tag);
  const matches = (id: string) => {
    if (!id.startsWith(prefix) || hasTags?.(id) === false) return false;
    if (status === undefined) return true;
    const slot = index.slotOf(id);
    return slot !== undefined && index.onlineAt(slot, nowMs) === (status === "online");
  };
  let total = 0;
  for (const id of ids) if (matches(id)) total++;
  return { ids, total, matches };
}

/** The ids that match, so many at a time. */
export function* idPages({ ids, matches }: ExportedDevices, size: number): Generator<string[]> {
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
