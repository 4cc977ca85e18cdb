/**
 * Keeps the index of all devices as fresh as its readers need: one reading of the store at a time, and of
 * what changed only, however many readers there are.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { type DeviceSummary, MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { DeviceIndex } from "./device_index.ts";
import type { Listening } from "./listening.ts";

/** No reader is given what was read from the store earlier than this before it asked. */
export const MAX_AGE_MS = 250;

/** A reading is used at least this long, or a small fleet would be read again for every request. */
const MIN_REUSE_MS = 25;

/** It is used this many times as long as it took before a reader has the store read again. */
const REUSE_PER_READ = 4;

/**
 * For so long after a reader the index is kept fresh for the next one, who then need not wait: a Prometheus
 * server asks once a minute unless told otherwise. With Redis it costs little but round trips, for the watch
 * over silent devices reads the same changes once a second in any case.
 */
export const WARM_FOR_MS = 90_000;

/**
 * Calls of {@linkcode MAX_IDS_PER_CALL} devices that wait for the store together: 10 ms of Redis' time. One
 * after the other, each would wait for a batch of ingest's before it.
 */
const CALLS_AT_ONCE = 4;

/**
 * What other programs write into the counts does not show among the changes: the whole store is read this
 * often besides, 0.26 s of Redis' time for 100,000 devices, in pages of a thousand.
 */
const RESCAN_INTERVAL_MS = 60_000;

/** What {@linkcode Fleet} needs. */
export interface FleetOptions {
  /** Where the devices are read. */
  readonly store: Pick<Store, "changes" | "summaries" | "scan" | "removedPackets">;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
  /** See {@linkcode MAX_AGE_MS}. */
  readonly maxAgeMs: number;
  /** See {@linkcode WARM_FOR_MS}. */
  readonly warmForMs: number;
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
  /** Which time counts for that; default all. */
  readonly listening?: Listening;
  /** Told when reading begins to fail and when it succeeds again. */
  readonly log: Logger;
}

/** All devices, read from the store when somebody asks, and for a while behind that. */
export class Fleet {
  /** What was read; await {@linkcode fresh} first. */
  readonly index: DeviceIndex;
  readonly #options: FleetOptions;
  #version: number | undefined;
  #rounds = 0;
  #scannedAtMs = -Infinity;
  #rescan: Promise<void> | undefined;
  #failing = false;
  #readableSinceMs: number | undefined;
  #latest: { takenAtMs: number; tookMs: number; reuseMs: number } | undefined;
  #loaded = false;
  #reading: { startedAtMs: number; done: Promise<void> } | undefined;
  #next: Promise<void> | undefined;
  #readerAtMs = -Infinity;
  #warmTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Reads nothing yet. */
  constructor(options: FleetOptions) {
    this.#options = options;
    const { listening } = options;
    this.index = new DeviceIndex(
      options.offlineAfterMs,
      listening && ((nowMs) => listening.silentBeforeMs(nowMs)),
    );
  }

  /** When the latest reading began, on the clock that never goes back. */
  get takenAtMs(): number {
    return this.#latest?.takenAtMs ?? -Infinity;
  }

  /** See {@linkcode FleetOptions}. */
  get maxAgeMs(): number {
    return this.#options.maxAgeMs;
  }

  /** The store's version the index has reached. */
  get version(): number {
    return this.#version ?? 0;
  }

  /** How long the store could be read without a failure in between. */
  get readableForMs(): number {
    return this.#readableSinceMs === undefined ? 0 : this.#options.now() - this.#readableSinceMs;
  }

  /**
   * Resolves when the index holds everything stored until `maxAgeMs` before this call. Rejects as the
   * store does; the index is then as it was, and too old. For readers: others come, so it is kept fresh.
   */
  fresh(): Promise<void> {
    this.#readerAtMs = this.#options.now();
    return this.caughtUp();
  }

  /** As {@linkcode fresh}, for one who is no reader: nothing is kept fresh for the next time. */
  caughtUp(): Promise<void> {
    const { now, maxAgeMs } = this.#options;
    const nowMs = now();
    const reading = this.#reading;
    const ageMs = nowMs - this.takenAtMs;
    if (ageMs <= maxAgeMs) {
      // Good enough for this reader, who need not wait for what the next one gets.
      if (reading === undefined && ageMs > this.#latest!.reuseMs) this.#readBehind();
      return Promise.resolve();
    }
    if (reading === undefined) return this.#read(nowMs);
    if (nowMs - reading.startedAtMs <= maxAgeMs) return reading.done;
    // The reading under way began too long ago for this reader, who shares the one after it.
    this.#next ??= reading.done.then(() => {}, () => {}).then(() => {
      this.#next = undefined;
      return this.caughtUp();
    });
    return this.#next;
  }

  /**
   * Resolves when the index has caught up with the store for the first time, so that readers need no longer
   * wait for that: about 2 s with 100,000 devices in Redis, 1 s in SQLite, while 10,000 packets a second come in.
   * Rejects as the store does.
   */
  async loaded(): Promise<void> {
    // What changed during a long first reading takes a second one, and what changed during that a short third.
    for (let readings = 1; !this.#loaded; readings++) {
      await this.fresh();
      this.#loaded = this.#latest!.tookMs <= this.#options.maxAgeMs || readings === 3;
    }
  }

  /** Takes over what was read of one device besides; undefined: the store does not have it. */
  take(deviceId: string, summary: DeviceSummary | undefined): void {
    if (summary === undefined) this.index.delete(deviceId);
    else this.index.set(summary, this.#rounds, this.#options.unixNow());
  }

  /** Reads no more unless asked; resolves when no reading is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#warmTimer);
    while (this.#reading !== undefined || this.#rescan !== undefined) {
      await Promise.allSettled([this.#reading?.done, this.#rescan]);
    }
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
    const { store, unixNow } = this.#options;
    const missing = new Set(deviceIds);
    for (const summary of await store.summaries(deviceIds)) {
      this.index.set(summary, this.#rounds, unixNow());
      missing.delete(summary.deviceId);
    }
    for (const deviceId of missing) this.index.delete(deviceId);
  }

  #read(startedAtMs: number): Promise<void> {
    const { now, maxAgeMs, log } = this.#options;
    const read = async () => {
      try {
        await this.#readChanges();
        const tookMs = now() - startedAtMs;
        const reuseMs = Math.min(Math.max(MIN_REUSE_MS, tookMs * REUSE_PER_READ), maxAgeMs);
        this.#latest = { takenAtMs: startedAtMs, tookMs, reuseMs };
        this.#readableSinceMs ??= now();
        if (this.#failing) log.info("The store can be read again");
        this.#failing = false;
        this.#keepWarm(this.#latest);
      } catch (error) {
        if (!this.#failing) log.warn("The store cannot be read; readers get errors until it can", { error });
        this.#failing = true;
        this.#readableSinceMs = undefined;
        throw error;
      } finally {
        this.#reading = undefined;
      }
    };
    const done = read();
    this.#reading = { startedAtMs, done };
    return done;
  }

  /** Nobody waits for it. That it failed is in the log, and told to those who then have to wait. */
  #readBehind(): void {
    this.#read(this.#options.now()).catch(() => {});
  }

  /** Sees to it that the next reading is there before `latest` is too old, by the time that one took. */
  #keepWarm(latest: { takenAtMs: number; tookMs: number }): void {
    const { now, maxAgeMs, warmForMs } = this.#options;
    clearTimeout(this.#warmTimer);
    if (this.#closed || now() - this.#readerAtMs >= warmForMs) return;
    const { takenAtMs, tookMs } = latest;
    // Twice the time, as the next one may take longer; but a slow store is kept busy half of the time at most.
    const dueAtMs = takenAtMs + Math.max(maxAgeMs - 2 * tookMs, 2 * tookMs);
    this.#warmTimer = setTimeout(() => {
      if (this.#reading !== undefined) return; // Begins anew behind it.
      if (now() < dueAtMs) this.#keepWarm(latest);
      else this.#readBehind();
    }, Math.max(0, dueAtMs - now()));
  }

  async #readChanges(): Promise<void> {
    const { version, devices } = await this.#options.store.changes(this.#version);
    if (devices === "all") {
      await this.#rescan?.catch(() => {});
      this.#version = await this.#scan(version);
    } else {
      await this.#takeChanges(devices);
      this.#version = version;
      if (this.#options.now() - this.#scannedAtMs > RESCAN_INTERVAL_MS) this.#rescanBehind();
    }
  }

  async #takeChanges(devices: ReadonlyMap<string, DeviceSummary | undefined>): Promise<void> {
    const toAsk: string[] = [];
    const nowMs = this.#options.unixNow();
    for (const [deviceId, summary] of devices) {
      if (summary === undefined) toAsk.push(deviceId);
      else this.index.set(summary, this.#rounds, nowMs);
    }
    await this.#reread(toAsk);
  }

  /** Beside the readers, who need not wait for it; one that fails is tried again at the next reading. */
  #rescanBehind(): void {
    this.#rescan ??= this.#scan().then(() => {}, () => {}).finally(() => this.#rescan = undefined);
  }

  /**
   * Reads the whole store, and meanwhile what changed since `version`: while ingest takes all it can, each
   * page waits for a batch, and behind the last one no change since the first would be kept any more.
   * Resolves to the version the index has reached.
   */
  async #scan(version?: number): Promise<number | undefined> {
    const { store, now, unixNow } = this.#options;
    const startedAtMs = now();
    let followedAtMs = startedAtMs;
    const round = ++this.#rounds;
    for await (const page of store.scan()) {
      for (const summary of page) this.index.set(summary, round, unixNow());
      if (version === undefined || now() - followedAtMs < this.#options.maxAgeMs) continue;
      followedAtMs = now();
      const changes = await store.changes(version);
      if (changes.devices === "all") continue; // The next reading finds the same.
      await this.#takeChanges(changes.devices);
      version = changes.version;
    }
    // Once, and after the devices: a device removed in between is counted twice rather than not at all.
    if (this.#scannedAtMs === -Infinity) this.index.addRemoved(await store.removedPackets());
    this.index.sweep(round, unixNow());
    this.index.sorted(); // Here nobody waits for it.
    this.#scannedAtMs = startedAtMs;
    return version;
  }
}
