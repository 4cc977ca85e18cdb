/**
 * Keeps the index of all devices as fresh as its callers need: one read of the store at a time, and of what
 * changed only, however many callers there are.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { Clock } from "../runtime/clock.ts";
import { type DeviceSummary, MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { DeviceIndex } from "./device_index.ts";
import { LabelIndex } from "./label_index.ts";
import { LabelReader, type LabelSource } from "./label_reader.ts";
import type { ObservedTime } from "./observed_time.ts";

/** No request is answered with what was read from the store earlier than this before it came. */
export const MAX_AGE_MS = 250;

/** A read is used at least this long, or a small fleet would be read again for every request. */
const MIN_REUSE_MS = 10;

/** It is used this many times as long as it took before a request has the store read again. */
const REUSE_PER_READ = 2;

/**
 * For so long after a request the index is kept fresh for the next one, which then need not wait: a Prometheus
 * server scrapes once a minute by default. With Redis it costs little but round trips, for the offline watch reads
 * the same changes once a second in any case.
 */
export const WARM_FOR_MS = 90_000;

/**
 * Calls of {@linkcode MAX_IDS_PER_CALL} devices that wait for the store together: 10 ms of Redis's time. One after
 * the other, each would wait for a batch of an ingest before it.
 */
const CALLS_AT_ONCE = 4;

/**
 * What other programs write into the counts is not among the changes: the whole store is read this often besides,
 * 0.26 s of Redis's time for 100,000 devices, in pages of a thousand.
 */
const RESCAN_INTERVAL_MS = 60_000;

/** What {@linkcode FleetCache} needs. */
export interface FleetCacheOptions {
  /** Where the devices are read. */
  readonly store: Pick<Store, "changes" | "summaries" | "scan" | "removedPackets"> & LabelSource;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
  /** Greatest age of the index for a request; {@linkcode MAX_AGE_MS} in production. */
  readonly maxAgeMs: number;
  /** How long after a request the index is kept fresh; {@linkcode WARM_FOR_MS} in production. */
  readonly warmForMs: number;
  /** A device that sends nothing for longer is offline. */
  readonly offlineAfterMs: number;
  /** Which time counts for that; default all. */
  readonly observedTime?: ObservedTime;
  /** Receives a line when reading begins to fail and when it succeeds again. */
  readonly log: Logger;
}

/** All devices in memory, read from the store for each request, and for a while after it. */
export class FleetCache {
  /** What was read; await {@linkcode refresh} first. */
  readonly index: DeviceIndex;
  /** Names and tags of devices, of some too that are not in the index yet. */
  readonly labels: LabelIndex = new LabelIndex();
  readonly #labelReader: LabelReader;
  readonly #options: FleetCacheOptions;
  #version: number | undefined;
  #rounds = 0;
  #scannedAtMs = -Infinity;
  #rescan: Promise<void> | undefined;
  /** Shards of the store did not answer the latest read, or the latest scan. */
  #isPartial = false;
  #isScanPartial = false;
  #hasRemoved = false;
  #failing = false;
  #storeUpSinceMs: number | undefined;
  #latest: { takenAtMs: number; tookMs: number; reuseMs: number } | undefined;
  #loaded = false;
  #reading: { startedAtMs: number; done: Promise<void> } | undefined;
  #next: Promise<void> | undefined;
  #requestedAtMs = -Infinity;
  #warmTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Reads nothing yet. */
  constructor(options: FleetCacheOptions) {
    this.#options = options;
    const { observedTime } = options;
    this.#labelReader = new LabelReader(this.labels, options.store, options.clock);
    this.index = new DeviceIndex(
      options.offlineAfterMs,
      observedTime && ((nowMs) => observedTime.offlineBeforeMs(nowMs)),
    );
  }

  /** When the latest read began, on the clock that never goes back. */
  get takenAtMs(): number {
    return this.#latest?.takenAtMs ?? -Infinity;
  }

  /** Greatest age of the index for a request. */
  get maxAgeMs(): number {
    return this.#options.maxAgeMs;
  }

  /** The store's version the index has reached. */
  get version(): number {
    return this.#version ?? 0;
  }

  /** Devices of some shards of the store are as they were read last, or missing: the shards do not answer. */
  get isPartial(): boolean {
    return this.#isPartial || this.#isScanPartial;
  }

  /** How long the store could be read without a failure in between. */
  get storeUpForMs(): number {
    return this.#storeUpSinceMs === undefined ? 0 : this.#options.clock.monotonicMs() - this.#storeUpSinceMs;
  }

  /**
   * Resolves when the index holds everything stored until `maxAgeMs` before this call. Rejects as the store does;
   * the index is then as it was, and too old. `keepWarm`: extends the warm period, in which the index is kept fresh
   * for the next request; false for background callers.
   */
  refresh({ keepWarm }: { readonly keepWarm: boolean }): Promise<void> {
    const { clock, maxAgeMs } = this.#options;
    const nowMs = clock.monotonicMs();
    if (keepWarm) this.#requestedAtMs = nowMs;
    const reading = this.#reading;
    const ageMs = nowMs - this.takenAtMs;
    if (ageMs <= maxAgeMs) {
      // Fresh enough for this caller, who need not wait for what the next one gets.
      if (reading === undefined && ageMs > this.#latest!.reuseMs) this.#readInBackground();
      return Promise.resolve();
    }
    if (reading === undefined) return this.#read(nowMs);
    if (nowMs - reading.startedAtMs <= maxAgeMs) return reading.done;
    // The read in progress began too long ago for this caller, who shares the one after it.
    this.#next ??= reading.done.then(() => {}, () => {}).then(() => {
      this.#next = undefined;
      return this.refresh({ keepWarm: false });
    });
    return this.#next;
  }

  /**
   * Resolves when the index has caught up with the store for the first time, so that requests need no longer wait
   * for that: about 2 s with 100,000 devices in Redis, 1 s in SQLite, while 10,000 packets a second come in.
   * Rejects as the store does.
   */
  async loaded(): Promise<void> {
    // What changed during a long first read takes a second one, and what changed during that a short third.
    for (let reads = 1; !this.#loaded; reads++) {
      await this.refresh({ keepWarm: true });
      this.#loaded = this.#latest!.tookMs <= this.#options.maxAgeMs || reads === 3;
    }
  }

  /** Updates one device that was read besides; undefined: the store does not have it. */
  update(deviceId: string, summary: DeviceSummary | undefined): void {
    if (summary === undefined) this.index.delete(deviceId);
    else this.index.set(summary, this.#rounds, this.#options.clock.unixMs());
  }

  /** Names and tags as fresh as the index is for a request of a background caller. Rejects as the store does. */
  async freshLabels(): Promise<LabelIndex> {
    await this.refresh({ keepWarm: false });
    return this.labels;
  }

  /** Resolves when {@linkcode FleetCache.labels} has all that is stored now. Rejects as the store does. */
  refreshLabels(): Promise<void> {
    return this.#labelReader.refreshNow();
  }

  /** Stops reading in the background; resolves when no read is in progress. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#warmTimer);
    while (this.#reading !== undefined || this.#rescan !== undefined) {
      await Promise.allSettled([this.#reading?.done, this.#rescan]);
    }
    await this.#labelReader.idle();
  }

  async #reread(deviceIds: readonly string[]): Promise<void> {
    const calls: Promise<void>[] = [];
    for (let start = 0; start < deviceIds.length; start += MAX_IDS_PER_CALL) {
      calls.push(this.#rereadSome(deviceIds.slice(start, start + MAX_IDS_PER_CALL)));
      if (calls.length === CALLS_AT_ONCE) await Promise.all(calls.splice(0));
    }
    await Promise.all(calls);
  }

  async #rereadSome(deviceIds: readonly string[]): Promise<void> {
    const { store, clock } = this.#options;
    const missing = new Set(deviceIds);
    for (const summary of await store.summaries(deviceIds)) {
      this.index.set(summary, this.#rounds, clock.unixMs());
      missing.delete(summary.deviceId);
    }
    for (const deviceId of missing) this.index.delete(deviceId);
  }

  #read(startedAtMs: number): Promise<void> {
    const { clock, maxAgeMs, log } = this.#options;
    const read = async () => {
      try {
        await this.#readChanges();
        const tookMs = clock.monotonicMs() - startedAtMs;
        const reuseMs = Math.min(Math.max(MIN_REUSE_MS, tookMs * REUSE_PER_READ), maxAgeMs);
        this.#latest = { takenAtMs: startedAtMs, tookMs, reuseMs };
        this.#storeUpSinceMs ??= clock.monotonicMs();
        if (this.#failing) log.info("The store can be read again");
        this.#failing = false;
        this.#keepWarm(this.#latest);
      } catch (error) {
        if (!this.#failing) log.warn("The store cannot be read; readers get errors until it can", { error });
        this.#failing = true;
        this.#storeUpSinceMs = undefined;
        throw error;
      } finally {
        this.#reading = undefined;
      }
    };
    const done = read();
    this.#reading = { startedAtMs, done };
    return done;
  }

  /** No caller waits for it. A failure is logged, and rejects the callers that have to wait next. */
  #readInBackground(): void {
    this.#read(this.#options.clock.monotonicMs()).catch(() => {});
  }

  /** Schedules the next read so that it ends before `latest` is too old, by the time that one took. */
  #keepWarm(latest: { takenAtMs: number; tookMs: number }): void {
    const { clock, maxAgeMs, warmForMs } = this.#options;
    clearTimeout(this.#warmTimer);
    if (this.#closed || clock.monotonicMs() - this.#requestedAtMs >= warmForMs) return;
    const { takenAtMs, tookMs } = latest;
    // Twice the time, as the next one may take longer; but a slow store is kept busy half of the time at most.
    const dueAtMs = takenAtMs + Math.max(maxAgeMs - 2 * tookMs, 2 * tookMs);
    this.#warmTimer = setTimeout(() => {
      if (this.#reading !== undefined) return; // It schedules the next one.
      if (clock.monotonicMs() < dueAtMs) this.#keepWarm(latest);
      else this.#readInBackground();
    }, Math.max(0, dueAtMs - clock.monotonicMs()));
  }

  async #readChanges(): Promise<void> {
    const [{ version, devices, isPartial = false }] = await Promise.all([
      this.#options.store.changes(this.#version),
      this.#labelReader.refresh(),
    ]);
    this.#setPartial(isPartial);
    if (devices === "all") {
      await this.#rescan?.catch(() => {});
      this.#version = await this.#scan(version);
    } else {
      await this.#update(devices);
      this.#version = version;
      const isDue = this.#options.clock.monotonicMs() - this.#scannedAtMs > RESCAN_INTERVAL_MS;
      if (isDue || this.#isScanPartial && !isPartial) this.#rescanInBackground();
    }
  }

  #setPartial(isPartial: boolean): void {
    if (isPartial === this.#isPartial) return;
    this.#isPartial = isPartial;
    const { log } = this.#options;
    if (isPartial) log.warn("Shards of the store do not answer; their devices are shown as they were");
    else log.info("All shards of the store answer again");
  }

  async #update(devices: ReadonlyMap<string, DeviceSummary | undefined>): Promise<void> {
    const unread: string[] = [];
    const nowMs = this.#options.clock.unixMs();
    for (const [deviceId, summary] of devices) {
      if (summary === undefined) unread.push(deviceId);
      else this.index.set(summary, this.#rounds, nowMs);
    }
    await this.#reread(unread);
  }

  /** No caller waits for it; one that fails is tried again at the next read. */
  #rescanInBackground(): void {
    this.#rescan ??= this.#scan().then(() => {}, () => {}).finally(() => this.#rescan = undefined);
  }

  /**
   * Reads the whole store, and meanwhile what changed since `version`: while an ingest stores all it can, each page
   * waits for a batch, and after the last one no change since the first would be kept any more. Resolves to the
   * version the index has reached.
   */
  async #scan(version?: number): Promise<number | undefined> {
    const { store, clock } = this.#options;
    const startedAtMs = clock.monotonicMs();
    let followedAtMs = startedAtMs;
    const round = ++this.#rounds;
    let isWhole = true;
    for await (const page of store.scan(() => isWhole = false)) {
      for (const summary of page) this.index.set(summary, round, clock.unixMs());
      if (version === undefined || clock.monotonicMs() - followedAtMs < this.#options.maxAgeMs) continue;
      followedAtMs = clock.monotonicMs();
      const changes = await store.changes(version);
      if (changes.devices === "all") continue; // The next read finds the same.
      await this.#update(changes.devices);
      version = changes.version;
    }
    // Once, and after the devices: a device removed in between is counted twice rather than not at all.
    if (isWhole && !this.#hasRemoved) {
      this.index.addRemoved(await store.removedPackets());
      this.#hasRemoved = true;
    }
    if (isWhole) this.index.sweep(round, clock.unixMs());
    this.#isScanPartial = !isWhole;
    this.index.sorted(); // No caller waits for it here.
    this.#scannedAtMs = startedAtMs;
    return version;
  }
}
