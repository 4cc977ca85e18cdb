/**
 * Forgets devices that have not been seen for long: with `TALLY_DEVICE_TTL` only.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import type { Clock } from "../runtime/clock.ts";
import { MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { StoreError } from "../store/store_error.ts";
import type { FleetCache } from "./fleet_cache.ts";
import { ObservedTime } from "./observed_time.ts";

/** Devices are forgotten {@linkcode MAX_IDS_PER_CALL} at a time, and this often: some milliseconds of the store's time. */
export const SWEEP_STEP_MS = 1_000;

/** Steps between two looks at all devices while there is nothing to forget: a look takes 30 ms with a million. */
const STEPS_PER_LOOK = 10;

/** Longest time that an api and an ingest must have run, and the store been readable, before a device is forgotten. */
const MAX_SETTLE_MS = 3_600_000;

/** What {@linkcode forgetUnseenDevices} needs. */
export interface RetentionOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Where they are deleted. */
  readonly store: Pick<Store, "removeUnseen" | "instances">;
  /** The time of packets. */
  readonly clock: Clock;
  /** A device that sends nothing for longer is forgotten. */
  readonly deviceTtlMs: number;
  /** How often a step is done; {@linkcode SWEEP_STEP_MS} in production. */
  readonly sweepStepMs: number;
  /** A sweep has ended, and so many devices are forgotten by this process. */
  readonly onForgotten: (devices: number) => Promise<void>;
  /** Receives unexpected errors. */
  readonly log: Logger;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/**
 * Forgets devices until `signal` is aborted. Any number of apis may do it: the store deletes a device once, and only if
 * it has not been seen meanwhile. Only {@linkcode ObservedTime} counts, and nothing is forgotten in the first hour after
 * the start, or for `deviceTtlMs` if that is shorter: after an outage that was longer than the TTL devices can send again.
 */
export async function forgetUnseenDevices(options: RetentionOptions): Promise<void> {
  const { fleet, store, clock, deviceTtlMs, sweepStepMs, onForgotten, log, signal } = options;
  const observedTime = new ObservedTime({ offlineAfterMs: deviceTtlMs, clock, ingestRequired: true });
  const settleMs = Math.min(deviceTtlMs, MAX_SETTLE_MS);
  let forgotten = 0, restSteps = 0;

  /** Resolves to whether there may be more to forget. */
  async function step(): Promise<boolean> {
    const instances = await store.instances(clock.unixMs());
    if (instances.length === 0) return false;
    observedTime.reported(Math.max(...instances.map(({ reportedMs }) => reportedMs)));
    if (--restSteps > 0 || fleet.storeUpForMs < settleMs) return false;
    if (!instances.some(({ startedMs, reportedMs }) => reportedMs - startedMs >= settleMs)) return false;
    restSteps = STEPS_PER_LOOK;
    await fleet.refresh({ keepWarm: false });
    const beforeMs = observedTime.offlineBeforeMs(clock.unixMs());
    const unseen = fleet.index.unseenSince(beforeMs, MAX_IDS_PER_CALL);
    if (unseen.length > 0) forgotten += await store.removeUnseen(unseen, beforeMs);
    if (unseen.length === MAX_IDS_PER_CALL) restSteps = 0;
    return restSteps === 0;
  }

  while (!signal.aborted) {
    try {
      if (!await step() && forgotten > 0) {
        const devices = forgotten;
        forgotten = 0;
        await onForgotten(devices);
      }
    } catch (error) {
      // FleetCache logs an outage of the store.
      if (!(error instanceof StoreError)) log.error("Cannot forget devices", { error });
    }
    await delay(sweepStepMs, undefined, { signal }).catch(() => {});
  }
  if (forgotten > 0) await onForgotten(forgotten);
}
