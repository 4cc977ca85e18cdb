/**
 * Tells another server of devices that fell silent or came back, by the rules of Standard Webhooks.
 *
 * Every event is delivered at least once and in order, by one api at a time. A delivery that fails is tried
 * again, with the same `webhook-id` as long as this process lives; each event has an id of its own, by which
 * its receiver can tell one it had already.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 * @module
 */
import { createHmac } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import { type DeviceEvent, type Store, StoreError } from "../store/store.ts";
import { eventJson } from "./events.ts";

/** Where events are delivered. */
export interface Webhook {
  /** An http or https URL. */
  readonly url: string;
  /** The key that bodies are signed with. */
  readonly secret: Uint8Array;
}

/** What {@linkcode deliverEvents} needs. */
export interface DeliveryOptions extends Webhook {
  /** Has the events, and how far they are delivered. */
  readonly store: Pick<Store, "events" | "claimDelivery" | "commitDelivery">;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
  /** New events are looked for this often. */
  readonly watchIntervalMs: number;
  /** Wait after a first failure; doubled with each one more, to {@linkcode MAX_RETRY_MS}. */
  readonly firstRetryMs: number;
  /** Told when delivering begins to fail, when it succeeds again, and of events that are lost. */
  readonly log: Logger;
  /** Ends the delivery. */
  readonly signal: AbortSignal;
}

/** Wait after a first failure, unless told otherwise. */
export const FIRST_RETRY_MS = 1_000;

/** Longest wait between two attempts. */
export const MAX_RETRY_MS = 5 * 60_000;

/** Events of one delivery, at most. */
const MAX_EVENTS = 100;

/** An attempt may take this long. */
const ATTEMPT_TIMEOUT_MS = 10_000;

/** Longer than an attempt: another api takes over when the one that delivers has died. */
const CLAIM_MS = 15_000;

/** A delivery on its way. */
interface Delivery {
  readonly lastEventId: number;
  readonly id: string;
  readonly body: string;
}

/** Delivers events until `signal` is aborted. */
export async function deliverEvents(options: DeliveryOptions): Promise<void> {
  const { store, unixNow, watchIntervalMs, firstRetryMs, log, signal } = options;
  const owner = crypto.randomUUID();
  let delivery: Delivery | undefined;
  let failures = 0;
  let nextAttemptAtMs = -Infinity;
  while (!signal.aborted) {
    let waitMs = watchIntervalMs;
    try {
      // Also while waiting for the next attempt, so that no other api begins anew with it.
      const delivered = await store.claimDelivery(owner, CLAIM_MS, unixNow());
      if (delivered === undefined) {
        delivery = undefined;
      } else if (performance.now() >= nextAttemptAtMs) {
        if (delivery === undefined || delivery.lastEventId <= delivered) {
          delivery = makeDelivery(await store.events(delivered, MAX_EVENTS), delivered, log);
        }
        if (delivery !== undefined) {
          await attempt(options, delivery);
          if (failures > 0) log.info("Events are delivered to the webhook again", { failures });
          failures = 0;
          await store.commitDelivery(owner, delivery.lastEventId, unixNow());
          delivery = undefined;
          waitMs = 0;
        }
      }
    } catch (error) {
      if (signal.aborted) break;
      // Of a store that cannot be reached the fleet tells.
      if (!(error instanceof StoreError)) {
        if (failures++ === 0) {
          log.warn("An event could not be delivered to the webhook, trying again: {reason}", {
            // The URL may hold a token.
            reason: String(error instanceof Error ? error.message : error).replace(/ for url \([^)]*\)/, ""),
          });
        }
        const retryMs = Math.min(firstRetryMs * 2 ** (failures - 1), MAX_RETRY_MS);
        nextAttemptAtMs = performance.now() + retryMs * (0.5 + Math.random() / 2);
        waitMs = Math.min(waitMs, retryMs);
      }
    }
    await delay(waitMs, undefined, { signal }).catch(() => {});
  }
  // So that another api need not wait until the claim expires.
  await store.claimDelivery(owner, 1, unixNow()).catch(() => {});
}

function makeDelivery(
  events: readonly DeviceEvent[],
  delivered: number,
  log: Logger,
): Delivery | undefined {
  const [first, last] = [events[0], events.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const lost = first.id - delivered - 1;
  if (lost > 0) log.error("{lost} events are lost: the webhook did not take them for too long", { lost });
  return {
    lastEventId: last.id,
    id: `events-${first.id}-${last.id}`,
    body: JSON.stringify({
      type: "device.status",
      timestamp: new Date(first.atMs).toISOString(),
      data: { events: events.map(eventJson) },
    }),
  };
}

async function attempt(
  { url, secret, unixNow, signal }: DeliveryOptions,
  { id, body }: Delivery,
): Promise<void> {
  const timestamp = Math.floor(unixNow() / 1_000);
  const signature = createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64");
  const response = await fetch(url, {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": `v1,${signature}`,
    },
    // Followed, it could lead to where the operator never meant it to.
    redirect: "manual",
    signal: AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}
