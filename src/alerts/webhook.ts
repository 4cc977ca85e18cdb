/**
 * Delivers the events of devices that go offline or come back to another server (Standard Webhooks).
 *
 * Every event is delivered at least once and in order, by one api at a time. A delivery that fails is tried
 * again, with the same `webhook-id` as long as this process lives; each event has an id of its own, by which its
 * receiver detects duplicates. An event that the receiver refuses is set aside after {@linkcode MAX_REFUSALS}
 * attempts. When the store has dropped events before they were delivered, a notice of
 * the gap is delivered in their place.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { Backoff } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { FleetCache } from "../fleet/fleet_cache.ts";
import { type DeviceEvent, EVENTS_KEPT } from "../store/events.ts";
import type { Store } from "../store/store.ts";
import { StoreError } from "../store/store_error.ts";
import { eventJson } from "./event_json.ts";
import { post, reasonOf, type Webhook } from "./webhook_request.ts";

/** What {@linkcode deliverEvents} needs. */
export interface DeliveryOptions extends Webhook {
  /** Has the events, and how far they are delivered. */
  readonly store: Pick<Store, "events" | "claimDelivery" | "commitDelivery">;
  /** Has the names and tags of devices. */
  readonly fleet: Pick<FleetCache, "freshLabels">;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
  /** How often new events are searched for. */
  readonly watchIntervalMs: number;
  /** Waits between attempts. */
  readonly backoff: Backoff;
  /** Counts what becomes of events. */
  readonly counters: WebhookCounters;
  /** Logs when delivering begins to fail, when it succeeds again, and events that are not delivered. */
  readonly log: Logger;
  /** Ends the delivery. */
  readonly signal: AbortSignal;
}

/** What one api has delivered since it started. */
export class WebhookCounters {
  /** Events that the receiver has accepted. */
  delivered = 0;
  /** Events that the receiver has refused for good. */
  setAside = 0;
  /** Notices of events that the store had dropped before they were delivered. */
  gaps = 0;
  /** Attempts that failed in a row. */
  failures = 0;
  /** The receiver responded with 410: nothing more is delivered before this process is started again. */
  stopped = false;
}

/** Default wait after a first failure, and the longest wait without a `Retry-After`. */
export const FIRST_RETRY_MS = 1_000, MAX_RETRY_MS = 5 * 60_000;

/** Events of one delivery, at most. */
const MAX_EVENTS = 100;

/** Attempts to deliver an event, or a notice, that the receiver refuses: a quarter of a minute for a first one. */
export const MAX_REFUSALS = 5;

/** Longer than an attempt: another api takes over when the one that delivers has died. */
const CLAIM_MS = 15_000;

/** A delivery in progress. */
interface Delivery {
  /** Delivered up to this event, when the receiver has accepted it. */
  readonly lastEventId: number;
  /** None: it is the notice of a gap. */
  readonly events: readonly DeviceEvent[];
  readonly id: string;
  readonly body: string;
}

/** Delivers events until `signal` is aborted, or the receiver responds with 410. */
export async function deliverEvents(options: DeliveryOptions): Promise<void> {
  const { store, clock, watchIntervalMs, backoff, signal } = options;
  const owner = crypto.randomUUID();
  const deliverer = new Deliverer(options, owner);
  while (!signal.aborted) {
    let waitMs = watchIntervalMs;
    try {
      // Also while waiting for the next attempt, so that no other api takes over and starts again.
      waitMs = Math.min(
        waitMs,
        await deliverer.step(await store.claimDelivery(owner, CLAIM_MS, clock.unixMs())),
      );
    } catch (error) {
      if (signal.aborted) break;
      // FleetCache logs an outage of the store.
      if (!(error instanceof StoreError)) waitMs = Math.min(waitMs, deliverer.failed(reasonOf(error)));
    }
    if (options.counters.stopped) break;
    await backoff.wait(waitMs, signal);
  }
  // So that another api need not wait until the claim expires.
  await store.claimDelivery(owner, 1, clock.unixMs()).catch(() => {});
}

/** Takes one delivery after the other to its end. */
class Deliverer {
  readonly #options: DeliveryOptions;
  readonly #owner: string;
  #delivery: Delivery | undefined;
  #nextAttemptAtMs = -Infinity;
  /** How many times the delivery was refused, and how many events are to be delivered one by one. */
  #refusals = 0;
  #singles = 0;

  constructor(options: DeliveryOptions, owner: string) {
    this.#options = options;
    this.#owner = owner;
  }

  /** One attempt, if it is time. `delivered`: see `Store.claimDelivery`. Resolves to the wait before the next step. */
  async step(delivered: number | undefined): Promise<number> {
    const { clock, signal } = this.#options;
    if (delivered === undefined) {
      this.#delivery = undefined; // another api delivers
      this.#refusals = this.#singles = 0;
    }
    if (delivered === undefined || clock.monotonicMs() < this.#nextAttemptAtMs) return Infinity;
    if (this.#delivery === undefined || this.#delivery.lastEventId <= delivered) {
      this.#delivery = await this.#next(delivered);
    }
    if (this.#delivery === undefined) return Infinity;
    const outcome = await post(this.#options, this.#delivery, clock, signal);
    if (outcome.kind === "accepted") return await this.#accepted(this.#delivery);
    if (outcome.kind === "refused") return await this.#refused(this.#delivery, outcome.reason);
    if (outcome.kind === "failed") return this.failed(outcome.reason, outcome.retryAfterMs);
    this.#options.counters.stopped = true;
    this.#options.log.error(
      "The webhook answered 410 Gone: no more events are delivered to it; set another URL, or start again",
    );
    return 0;
  }

  async #next(delivered: number): Promise<Delivery | undefined> {
    const { store, clock } = this.#options;
    const events = await store.events(delivered, this.#singles > 0 ? 1 : MAX_EVENTS);
    const [first, last] = [events[0], events.at(-1)];
    if (first === undefined || last === undefined) return undefined;
    if (await this.#isGap(delivered, first)) {
      return gapNotice(delivered === 0 ? undefined : delivered + 1, first.id - 1, clock.unixMs());
    }
    const labels = await this.#options.fleet.freshLabels();
    return {
      lastEventId: last.id,
      events,
      id: `events-${first.id}-${last.id}`,
      body: JSON.stringify({
        type: "device.status",
        timestamp: new Date(first.atMs).toISOString(),
        data: { events: events.map((event) => eventJson(event, labels.of(event.deviceId))) },
      }),
    };
  }

  /** Whether the store has dropped events between the last one delivered and `first`. */
  async #isGap(delivered: number, first: DeviceEvent): Promise<boolean> {
    if (delivered > 0) return first.id > delivered + 1;
    // Nothing was ever delivered, and the first id may be any: events were dropped if as many are left as are kept.
    const [newest] = await this.#options.store.events(undefined, 1);
    return newest !== undefined && newest.id - first.id + 1 >= EVENTS_KEPT;
  }

  async #accepted({ events }: Delivery): Promise<number> {
    const { backoff, counters, log } = this.#options;
    if (backoff.failures > 0) {
      log.info("Events are delivered to the webhook again", { failures: backoff.failures });
    }
    backoff.succeeded();
    counters.failures = 0;
    counters.delivered += events.length;
    return await this.#finish();
  }

  async #refused({ events, id }: Delivery, reason: string): Promise<number> {
    const { counters, log } = this.#options;
    if (events.length > 1) {
      // One of them may be the reason.
      this.#singles = events.length;
      this.#delivery = undefined;
      return 0;
    }
    if (++this.#refusals < MAX_REFUSALS) return this.failed(reason);
    const [event] = events;
    if (event !== undefined) counters.setAside++;
    log.error("The webhook refused {what} {refusals} times, and it is left out: {reason}", {
      what: event === undefined ? `the notice ${id}` : `event ${event.id}`,
      ...event === undefined ? {} : { kind: event.kind, deviceId: event.deviceId },
      refusals: this.#refusals,
      reason,
    });
    return await this.#finish();
  }

  /** Counts a failure; returns the wait before the next attempt. */
  failed(reason: string, retryAfterMs = 0): number {
    const { backoff, counters, log, clock } = this.#options;
    if (backoff.failures === 0) {
      log.warn("An event could not be delivered to the webhook, trying again: {reason}", { reason });
    }
    const retryMs = Math.max(backoff.failed(), retryAfterMs);
    counters.failures = backoff.failures;
    this.#nextAttemptAtMs = clock.monotonicMs() + retryMs;
    return retryMs;
  }

  /** Ends the delivery; the next one follows. */
  async #finish(): Promise<number> {
    const { store, clock, counters, log } = this.#options;
    const { lastEventId, events, id } = this.#delivery!;
    if (events.length === 0) {
      counters.gaps++;
      log.error("Events were dropped before the webhook accepted them; its receiver was sent {id}", { id });
    }
    this.#refusals = 0;
    this.#singles = Math.max(0, this.#singles - events.length);
    this.#delivery = undefined;
    await store.commitDelivery(this.#owner, lastEventId, clock.unixMs());
    return 0;
  }
}

/** Names the events that the store has dropped; `firstId` is undefined if it is not known. */
function gapNotice(firstId: number | undefined, lastId: number, unixNowMs: number): Delivery {
  return {
    lastEventId: lastId,
    events: [],
    id: `gap-${firstId ?? "unknown"}-${lastId}`,
    body: JSON.stringify({
      type: "device.status.gap",
      timestamp: new Date(unixNowMs).toISOString(),
      data: { first_id: firstId ?? null, last_id: lastId },
    }),
  };
}
