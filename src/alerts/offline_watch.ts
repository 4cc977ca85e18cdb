/**
 * Devices that fall silent or come back: noticing the first, and telling of both.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import type { Store } from "../store/store.ts";
import { eventJson } from "./event_json.ts";
import { MAX_IDS_PER_CALL } from "../store/devices.ts";
import type { DeviceEvent } from "../store/events.ts";
import { StoreError } from "../store/store_error.ts";
import type { EventLog } from "./event_log.ts";
import { type EventStreams, formatEvent } from "../api/http/event_streams.ts";
import type { Fleet } from "../fleet/fleet.ts";
import type { Listening } from "../fleet/listening.ts";

/** Silent devices, and new events, are looked for this often. */
export const WATCH_INTERVAL_MS = 1_000;

/** Events sent at a time to a stream. */
const PAGE_EVENTS = 100;

/** What {@linkcode watchForSilence} needs. */
export interface SilenceWatchOptions {
  /** Has the devices. */
  readonly fleet: Fleet;
  /** Where they are marked offline. */
  readonly store: Pick<Store, "markOffline" | "instances">;
  /** Which time counts. */
  readonly listening: Listening;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
  /** A device silent for longer is offline. */
  readonly offlineAfterMs: number;
  /** Silent devices are looked for this often. */
  readonly watchIntervalMs: number;
  /** Told of errors nobody foresaw. */
  readonly log: Logger;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/**
 * Marks devices offline that have fallen silent, until `signal` is aborted. The store writes the event, once
 * for any number of apis that ask. Only time in which Tally listened counts, see {@linkcode Listening}; and no
 * device is marked until the store has been readable for `offlineAfterMs`.
 */
export async function watchForSilence(options: SilenceWatchOptions): Promise<void> {
  const { fleet, store, listening, unixNow, offlineAfterMs, watchIntervalMs, log, signal } = options;
  while (!signal.aborted) {
    try {
      const [instances] = await Promise.all([store.instances(unixNow()), fleet.caughtUp()]);
      if (instances.length > 0) {
        listening.reported(Math.max(...instances.map(({ reportedMs }) => reportedMs)));
      }
      const nowMs = unixNow();
      const silent = fleet.readableForMs >= offlineAfterMs ? fleet.index.fallenSilent(nowMs) : [];
      const silentBeforeMs = listening.silentBeforeMs(nowMs);
      for (let start = 0; start < silent.length && !signal.aborted; start += MAX_IDS_PER_CALL) {
        await store.markOffline(silent.slice(start, start + MAX_IDS_PER_CALL), silentBeforeMs, nowMs);
      }
    } catch (error) {
      // Of a store that cannot be reached the fleet has told already.
      if (!(error instanceof StoreError)) log.error("Looking for silent devices failed", { error });
    }
    await delay(watchIntervalMs, undefined, { signal }).catch(() => {});
  }
}

/** Streams of events, all told by one look for news. */
export class EventFeed {
  readonly #log: EventLog;
  readonly #streams: EventStreams;
  readonly #watchIntervalMs: number;
  readonly #closing = new AbortController();
  #look: Promise<void> | undefined;

  /** Looks for nothing before a client connects. */
  constructor(log: EventLog, streams: EventStreams, watchIntervalMs: number) {
    this.#log = log;
    this.#watchIntervalMs = watchIntervalMs;
    this.#streams = streams;
  }

  /** A stream of the events after `after`, or of those to come; with `deviceId`, of this device only. */
  open(after: number | undefined, deviceId: string | undefined): ReadableStream<Uint8Array> {
    let last = after;
    let isNew = true;
    return this.#streams.open(async (signal) => {
      let events: readonly DeviceEvent[] = [];
      while (events.length === 0 && !signal.aborted) {
        try {
          if (isNew) await this.#log.fresh();
          else if (last === undefined || last >= this.#log.newestId) await this.#nextLook();
          isNew = false;
          last ??= this.#log.newestId;
          events = this.#log.list(last, PAGE_EVENTS, deviceId);
          last = events.at(-1)?.id ?? Math.max(last, this.#log.newestId);
        } catch (error) {
          // While the store is away there is no news.
          if (!(error instanceof StoreError)) throw error;
          await this.#wait();
        }
      }
      return events.map((event) => formatEvent(event.kind, eventJson(event), event.id)).join("");
    });
  }

  /** Lets go of what is waited for. */
  close(): void {
    this.#closing.abort();
  }

  /** Resolves after a while, when the log is fresh again. */
  #nextLook(): Promise<void> {
    return this.#look ??= this.#wait().then(() => this.#log.fresh()).finally(() => this.#look = undefined);
  }

  #wait(): Promise<void> {
    return delay(this.#watchIntervalMs, undefined, { signal: this.#closing.signal });
  }
}
