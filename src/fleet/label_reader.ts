/**
 * Keeps the labels in memory as they are in the store, from which it reads what changed.
 *
 * @module
 */
import type { Clock } from "../runtime/clock.ts";
import { MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import type { LabelIndex } from "./label_index.ts";

/** What another api has changed shows after so long; what this one has changed shows at once. */
export const LABELS_MAX_AGE_MS = 1_000;

/** Where labels are read. */
export type LabelSource = Pick<Store, "labelChanges" | "labels" | "scanLabels">;

/** One read of the store at a time. */
export class LabelReader {
  readonly #index: LabelIndex;
  readonly #store: LabelSource;
  readonly #clock: Clock;
  #version: number | undefined;
  /** Shards of the store did not answer the latest scan. */
  #isScanPartial = false;
  #readAtMs = -Infinity;
  #reading: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** Reads nothing yet. */
  constructor(index: LabelIndex, store: LabelSource, clock: Clock) {
    this.#index = index;
    this.#store = store;
    this.#clock = clock;
  }

  /** Resolves when the index has what was stored {@linkcode LABELS_MAX_AGE_MS} before. Rejects as the store does. */
  refresh(): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    if (this.#clock.monotonicMs() - this.#readAtMs <= LABELS_MAX_AGE_MS) return Promise.resolve();
    return this.refreshNow();
  }

  /** Resolves when the index has all that is stored now. */
  refreshNow(): Promise<void> {
    if (this.#reading === undefined) {
      const startedAtMs = this.#clock.monotonicMs();
      this.#reading = this.#read().then(() => void (this.#readAtMs = startedAtMs))
        .finally(() => this.#reading = undefined);
      return this.#reading;
    }
    // The read in progress may have missed it.
    this.#next ??= this.#reading.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.refreshNow();
    });
    return this.#next;
  }

  /** Resolves when no read is in progress. */
  async idle(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading.catch(() => {});
  }

  async #read(): Promise<void> {
    const { version, devices, isPartial = false } = await this.#store.labelChanges(this.#version);
    if (devices === "all" || this.#isScanPartial && !isPartial) await this.#scan();
    else await this.#reread([...devices.keys()]);
    this.#version = version;
  }

  async #reread(deviceIds: readonly string[]): Promise<void> {
    for (let start = 0; start < deviceIds.length; start += MAX_IDS_PER_CALL) {
      const some = deviceIds.slice(start, start + MAX_IDS_PER_CALL);
      const labels = await this.#store.labels(some);
      for (const deviceId of some) this.#index.set(deviceId, labels.get(deviceId));
    }
  }

  async #scan(): Promise<void> {
    const found = new Set<string>();
    let isWhole = true;
    for await (const page of this.#store.scanLabels(() => isWhole = false)) {
      for (const [deviceId, labels] of page) {
        found.add(deviceId);
        this.#index.set(deviceId, labels);
      }
    }
    if (isWhole) this.#index.keepOnly(found);
    this.#isScanPartial = !isWhole;
  }
}
