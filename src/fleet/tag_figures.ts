/**
 * Figures of the devices that share a tag.
 *
 * @module
 */
import type { Clock } from "../runtime/clock.ts";
import type { DeviceIndex } from "./device_index.ts";
import type { LabelIndex, Tag } from "./label_index.ts";

/** They are used for a second, and for so many times as long as they took: 0.1 s with 100,000 devices of three tags. */
const REUSE_MS = 1_000, REUSE_PER_COMPUTING = 20;

/** Greatest age of the figures. */
const MAX_AGE_MS = 5_000;

/** Sums over the devices with a tag that have sent a packet. */
export interface TagFigures {
  /** The tag. */
  readonly tag: Tag;
  /** Devices. */
  devices: number;
  /** Those of them that are online. */
  online: number;
  /** Packets counted. */
  count: number;
  /** Packets per second over the last ten seconds. */
  rate10s: number;
}

/** Figures of all tags, shared by all requests. */
export class TagReport {
  readonly #index: DeviceIndex;
  readonly #labels: LabelIndex;
  readonly #clock: Clock;
  #madeAtMs = -Infinity;
  #reuseMs = REUSE_MS;
  #figures: ReadonlyMap<string, readonly TagFigures[]> = new Map();

  /** Computes nothing yet. */
  constructor(index: DeviceIndex, labels: LabelIndex, clock: Clock) {
    this.#index = index;
    this.#labels = labels;
    this.#clock = clock;
  }

  /** By key, in the order of the keys; of each the tag with most devices first. {@linkcode MAX_AGE_MS} old at most. */
  figures(): ReadonlyMap<string, readonly TagFigures[]> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#madeAtMs < this.#reuseMs) return this.#figures;
    const byTag = sums(this.#index, this.#labels, this.#clock.unixMs());
    const sorted = byTag.sort((a, b) => b.devices - a.devices || compare(a.tag.value, b.tag.value));
    const byKey = [...Map.groupBy(sorted, ({ tag }) => tag.key)];
    this.#figures = new Map(byKey.sort(([a], [b]) => compare(a, b)));
    this.#madeAtMs = nowMs;
    const tookMs = this.#clock.monotonicMs() - nowMs;
    this.#reuseMs = Math.min(Math.max(REUSE_MS, tookMs * REUSE_PER_COMPUTING), MAX_AGE_MS);
    return this.#figures;
  }

  /** The next figures are computed anew. */
  reset(): void {
    this.#madeAtMs = -Infinity;
  }
}

function sums(index: DeviceIndex, labels: LabelIndex, nowMs: number): TagFigures[] {
  const byTag = new Map<Tag, TagFigures>();
  for (const [deviceId, { tags }] of labels.entries()) {
    if (tags.length === 0) continue;
    const slot = index.slotOf(deviceId);
    if (slot === undefined) continue;
    const isOnline = index.onlineAt(slot, nowMs) ? 1 : 0;
    const count = index.countAt(slot), rate = isOnline === 0 ? 0 : index.rateAt(slot, nowMs);
    for (const tag of tags) {
      let sum = byTag.get(tag);
      if (sum === undefined) byTag.set(tag, sum = { tag, devices: 0, online: 0, count: 0, rate10s: 0 });
      sum.devices++;
      sum.online += isOnline;
      sum.count += count;
      sum.rate10s += rate;
    }
  }
  return [...byTag.values()];
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
