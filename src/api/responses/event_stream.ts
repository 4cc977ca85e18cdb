/**
 * `/events` as a stream of Server-Sent Events.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { eventJson } from "../../alerts/event_json.ts";
import type { EventLog } from "../../alerts/event_log.ts";
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { LabelIndex, TagFilter } from "../../fleet/label_index.ts";
import type { DeviceEvent } from "../../store/events.ts";
import { StoreError } from "../../store/store_error.ts";
import type { Reader } from "../http/access.ts";
import { formatEvent, type SseBroadcaster } from "../http/sse_broadcaster.ts";

/** Events sent at a time to a client. */
const PAGE_EVENTS = 100;

/** Streams of events: one refresh of the log serves all of them. */
export class EventStream {
  readonly #log: EventLog;
  readonly #broadcaster: SseBroadcaster;
  readonly #fleet: Pick<FleetCache, "freshLabels">;
  readonly #refreshIntervalMs: number;
  readonly #closing = new AbortController();
  #refresh: Promise<void> | undefined;

  /** Reads nothing before a client connects. */
  constructor(
    log: EventLog,
    fleet: Pick<FleetCache, "freshLabels">,
    broadcaster: SseBroadcaster,
    refreshIntervalMs: number,
  ) {
    this.#log = log;
    this.#fleet = fleet;
    this.#broadcaster = broadcaster;
    this.#refreshIntervalMs = refreshIntervalMs;
  }

  /** A stream of the events after `after`, or of those to come; with `deviceId` or `tags`, of such devices only. */
  open(
    after: number | undefined,
    deviceId: string | undefined,
    tags: readonly TagFilter[],
    reader: Reader,
  ): ReadableStream<Uint8Array> {
    let last = after;
    let isNew = true;
    return this.#broadcaster.open(async (signal) => {
      let events: readonly DeviceEvent[] = [], labels: LabelIndex | undefined;
      while (events.length === 0 && !signal.aborted) {
        try {
          if (isNew) await this.#log.refresh();
          else if (last === undefined || last >= this.#log.newestId) await this.#nextRefresh();
          isNew = false;
          last ??= this.#log.newestId;
          labels = await this.#fleet.freshLabels();
          events = this.#log.list(last, PAGE_EVENTS, deviceId, undefined, labels.matcher(tags));
          last = events.at(-1)?.id ?? Math.max(last, this.#log.newestId);
        } catch (error) {
          // During an outage of the store there are no events to send.
          if (!(error instanceof StoreError)) throw error;
          await this.#wait();
        }
      }
      return events.map((event) =>
        formatEvent(event.kind, eventJson(event, labels!.of(event.deviceId)), event.id)
      ).join("");
    }, reader);
  }

  /** Rejects what streams wait for. */
  close(): void {
    this.#closing.abort();
  }

  /** Resolves after a while, when the log has been refreshed. */
  #nextRefresh(): Promise<void> {
    return this.#refresh ??= this.#wait().then(() => this.#log.refresh())
      .finally(() => this.#refresh = undefined);
  }

  #wait(): Promise<void> {
    return delay(this.#refreshIntervalMs, undefined, { signal: this.#closing.signal });
  }
}
