/**
 * Marks devices offline: the store writes the event.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import type { FleetCache } from "../fleet/fleet_cache.ts";
import type { ObservedTime } from "../fleet/observed_time.ts";
import type { Clock } from "../runtime/clock.ts";
import { MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { StoreError } from "../store/store_error.ts";

/** How often offline devices, and new events, are searched for. */
export const WATCH_INTERVAL_MS = 1_000;

/** What {@linkcode watchForOffline} needs. */
export interface OfflineWatchOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Where they are marked offline. */
  readonly store: Pick<Store, "markOffline" | "instances">;
  /** Which time counts. */
  readonly observedTime: ObservedTime;
  /** The time of packets. */
  readonly clock: Clock;
  /** A device that sends nothing for longer is offline. */
  readonly offlineAfterMs: number;
  /** How often offline devices are searched for; {@linkcode WATCH_INTERVAL_MS} in production. */
  readonly watchIntervalMs: number;
  /** Receives unexpected errors. */
  readonly log: Logger;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/**
 * Marks devices that are newly offline, until `signal` is aborted. The store writes the event once, also when several
 * apis mark the device. Only {@linkcode ObservedTime} counts; and no device is marked until the store has been
 * readable for `offlineAfterMs`.
 */
export async function watchForOffline(options: OfflineWatchOptions): Promise<void> {
  const { fleet, store, observedTime, clock, offlineAfterMs, watchIntervalMs, log, signal } = options;
  while (!signal.aborted) {
    try {
      const [instances] = await Promise.all([
        store.instances(clock.unixMs()),
        fleet.refresh({ keepWarm: false }),
      ]);
      // While a shard does not answer, ingests store nothing: that time does not count.
      if (instances.length > 0 && !fleet.isPartial) {
        observedTime.reported(Math.max(...instances.map(({ reportedMs }) => reportedMs)));
      }
      const nowMs = clock.unixMs();
      const offline = fleet.storeUpForMs >= offlineAfterMs ? fleet.index.newlyOffline(nowMs) : [];
      const offlineBeforeMs = observedTime.offlineBeforeMs(nowMs);
      for (let start = 0; start < offline.length && !signal.aborted; start += MAX_IDS_PER_CALL) {
        await store.markOffline(offline.slice(start, start + MAX_IDS_PER_CALL), offlineBeforeMs, nowMs);
      }
    } catch (error) {
      // FleetCache logs an outage of the store.
      if (!(error instanceof StoreError)) log.error("Cannot mark devices offline", { error });
    }
    await delay(watchIntervalMs, undefined, { signal }).catch(() => {});
  }
}
