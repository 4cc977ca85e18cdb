/**
 * Evaluates rules and sends messages, in one of all apis at a time: the one that holds the lease. Each of its writes
 * is refused once another has taken over; that one continues from the state in the store.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import { Backoff } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Store } from "../store/store.ts";
import type { StoreHealth } from "../store/store_clock.ts";
import { StoreError } from "../store/store_error.ts";
import { AlertTerm, type TermOptions } from "./alert_term.ts";
import {
  ALERTMANAGER_EXPIRY_MS,
  alertmanagerRequest,
  channelRequest,
  type Channels,
  configuredChannels,
} from "./channels/channel.ts";
import { ChannelSender } from "./channels/channel_sender.ts";
import type { Moment } from "./rules/facts.ts";
import { RejectedPackets } from "./rules/rejected_packets.ts";
import { MAX_RETRY_MS } from "./webhook.ts";
import { postJson } from "./webhook_request.ts";

/** Another api takes over after so long when the one that evaluates has died. */
export const LEASE_MS = 10_000;

/** The lease is renewed this often. */
const RENEW_MS = 2_500;

/** The store's health may be as old, ms: it is read once a second. */
const HEALTH_AGE_MS = 2_000;

/** Alertmanager gets the open incidents this often. */
const RESEND_MS = ALERTMANAGER_EXPIRY_MS / 5;

/** What {@linkcode watchAlerts} needs. */
export interface AlertWatchOptions extends Omit<TermOptions, "channels" | "onDropped"> {
  /** Has the rules and the state. */
  readonly store: Pick<Store, "claimAlerts" | "alertState" | "writeAlertState" | "instances">;
  /** Where messages go. */
  readonly channels: Channels;
  /** Address of an incident on the page. */
  readonly linkOf: (incidentId: number) => string;
  /** The time: of packets, and to measure durations. */
  readonly clock: Clock;
  /** How late counts are. */
  readonly storeHealth: () => StoreHealth;
  /** How often rules are evaluated. */
  readonly watchIntervalMs: number;
  /** Wait after a first failure of a channel. */
  readonly retryMs: number;
  /** Receives unexpected errors, and lines about channels. */
  readonly log: Logger;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** Evaluates rules until `signal` is aborted. */
export async function watchAlerts(options: AlertWatchOptions): Promise<void> {
  const { watchIntervalMs, log, signal } = options;
  const watch = new AlertWatch(options);
  while (!signal.aborted) {
    try {
      await watch.step();
    } catch (error) {
      watch.giveUp();
      // FleetCache logs an outage of the store.
      if (!(error instanceof StoreError)) log.error("Cannot evaluate the rules of alerts", { error });
    }
    // What a channel has accepted is stored at once: the process that takes over would send it again.
    await Promise.race([delay(watchIntervalMs, undefined, { signal }).catch(() => {}), watch.sent()]);
  }
  await watch.end();
}

class AlertWatch {
  readonly #options: AlertWatchOptions;
  readonly #owner = crypto.randomUUID();
  readonly #rejected = new RejectedPackets();
  readonly #senders: readonly ChannelSender[];
  readonly #unsubscribe: () => void;
  #term: AlertTerm | undefined;
  #claimedAtMs = -Infinity;
  #resentAtMs = -Infinity;

  constructor(options: AlertWatchOptions) {
    this.#options = options;
    const { fleet, values } = options;
    this.#unsubscribe = values.subscribe((changed) => {
      for (const deviceId of changed.keys()) {
        const slot = fleet.index.slotOf(deviceId);
        if (slot !== undefined) fleet.index.changes().add(slot);
      }
    });
    const { channels, linkOf, clock, retryMs, log, signal } = options;
    this.#senders = configuredChannels(channels).map((name) =>
      new ChannelSender({
        ...{ name, clock, log, signal },
        request: (message) => channelRequest(name, channels, message, linkOf(message.incident.id), clock),
        backoff: new Backoff({ firstMs: retryMs, maxMs: MAX_RETRY_MS }),
      })
    );
  }

  /** Evaluates once, if this process holds the lease. */
  async step(): Promise<void> {
    const { settings, store, clock } = this.#options;
    await settings.refresh();
    if (!settings.isUsed) return;
    // Also where another process evaluates: this one may be the next.
    this.#rejected.reported(await store.instances(clock.unixMs()), clock.monotonicMs());
    if (!await this.#claim()) return;
    const moment = await this.#observe();
    const term = this.#term ??= await this.#begin(moment);
    if (term === undefined) return;
    term.evaluate(moment);
    if (!await term.write(store, this.#owner)) return this.giveUp();
    for (const sender of this.#senders) sender.send(term.outbox);
    this.#resend(term, moment);
  }

  /** Resolves when a channel has ended an attempt to send; never, if none is sending. */
  sent(): Promise<void> {
    return Promise.race(this.#senders.flatMap(({ sending }) => sending ?? []));
  }

  /** Another process may have taken over, or a write may be lost: the state is read again. */
  giveUp(): void {
    this.#term = undefined;
    this.#claimedAtMs = -Infinity;
  }

  /** Has another process take over at once. */
  async end(): Promise<void> {
    const { store, clock } = this.#options;
    this.#unsubscribe();
    await Promise.all(this.#senders.map(({ sending }) => sending));
    if (this.#term === undefined) return;
    await this.#term.write(store, this.#owner).catch(() => {});
    await store.claimAlerts(this.#owner, 1, clock.unixMs()).catch(() => {});
  }

  async #claim(): Promise<boolean> {
    const { store, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#term !== undefined && nowMs - this.#claimedAtMs < RENEW_MS) return true;
    const version = await store.claimAlerts(this.#owner, LEASE_MS, clock.unixMs());
    if (version === undefined || version !== this.#term?.version) this.#term = undefined;
    this.#claimedAtMs = nowMs;
    return version !== undefined;
  }

  async #observe(): Promise<Moment> {
    const { fleet, values, settings, observedTime, clock } = this.#options;
    await (this.#term === undefined ? fleet.loaded() : fleet.refresh({ keepWarm: false }));
    const usesValues = settings.rules.some(({ enabled, condition }) => enabled && condition.kind === "value");
    if (usesValues) await values.refresh();
    observedTime.tick();
    const unixMs = clock.unixMs(), monotonicMs = clock.monotonicMs();
    const { countsLateMs } = this.#options.storeHealth();
    return {
      ...{ unixMs, monotonicMs, isWhole: !fleet.isPartial },
      countsLateMs: countsLateMs > 0 ? countsLateMs + HEALTH_AGE_MS : 0,
      rejectedPerMinute: this.#rejected.perMinute,
      isRejectedKnown: this.#rejected.isKnown(monotonicMs),
    };
  }

  async #begin(moment: Moment): Promise<AlertTerm | undefined> {
    const { store, channels, log } = this.#options;
    const [incidents, memory] = await Promise.all([
      store.alertState("incidents"),
      store.alertState("memory"),
    ]);
    // The one before has still written in between: it cannot any more at the next attempt.
    if (incidents === undefined || memory === undefined || incidents.version !== memory.version) {
      return undefined;
    }
    return new AlertTerm(incidents.version, incidents.entries, memory.entries, moment, {
      ...this.#options,
      channels: configuredChannels(channels),
      onDropped: ({ id, kind, incident }) =>
        log.error("Too many messages wait for their channels: the oldest is dropped", {
          ...{ id, kind, incident: incident.id },
        }),
    });
  }

  /** Alertmanager loses alerts when it starts again, and resolves those that it does not receive again. */
  #resend(term: AlertTerm, { unixMs, monotonicMs }: Moment): void {
    const { channels: { alertmanagerUrl }, linkOf, clock, log, signal } = this.#options;
    if (alertmanagerUrl === undefined || monotonicMs - this.#resentAtMs < RESEND_MS) return;
    this.#resentAtMs = monotonicMs;
    const incidents = term.announced().map((incident) => ({ incident, link: linkOf(incident.id) }));
    if (incidents.length === 0) return;
    postJson(alertmanagerRequest(alertmanagerUrl, incidents, unixMs), clock, signal).then((outcome) => {
      if (outcome.kind !== "accepted") log.debug("Alertmanager did not accept the open incidents again");
    }, () => {}); // aborted
  }
}
