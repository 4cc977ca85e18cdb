/**
 * What the api holds of alerts: their settings and incidents for readers, and what evaluates the rules.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { AlertSettings } from "../alerts/alert_settings.ts";
import { watchAlerts } from "../alerts/alert_watch.ts";
import { type Channels, configuredChannels } from "../alerts/channels/channel.ts";
import { IncidentLog } from "../alerts/incident_log.ts";
import { GROUP_WAIT_MS, UPDATE_AFTER_MS } from "../alerts/incidents/due_messages.ts";
import { FIRST_RETRY_MS } from "../alerts/webhook.ts";
import type { Webhook } from "../alerts/webhook_request.ts";
import type { FleetCache } from "../fleet/fleet_cache.ts";
import type { FleetValues } from "../fleet/fleet_values.ts";
import type { ObservedTime } from "../fleet/observed_time.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Store } from "../store/store.ts";
import type { StoreHealth } from "../store/store_clock.ts";

/** Settings of alerts. */
export interface AlertOptions {
  /** Receives messages about incidents, besides the events of devices that go offline or come back. */
  readonly webhook?: Webhook | undefined;
  /** See {@linkcode Channels}. */
  readonly slackUrl?: string | undefined;
  /** See {@linkcode Channels}. */
  readonly ntfyUrl?: string | undefined;
  /** See {@linkcode Channels}. */
  readonly alertmanagerUrl?: string | undefined;
  /** Address of the page in messages; default: that of the port. */
  readonly publicUrl?: string | undefined;
  /** Default {@linkcode GROUP_WAIT_MS}. */
  readonly groupWaitMs?: number;
  /** Default {@linkcode UPDATE_AFTER_MS}. */
  readonly updateAfterMs?: number;
  /** Wait after a first failure of a channel; default {@linkcode FIRST_RETRY_MS}. */
  readonly webhookRetryMs?: number;
}

/** What {@linkcode createAlerting} needs besides. */
export interface AlertingParts {
  /** Has the rules and the state. */
  readonly store: Pick<
    Store,
    "alertDocuments" | "alertState" | "alertEntry" | "claimAlerts" | "writeAlertState" | "instances"
  >;
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Their values. */
  readonly values: FleetValues;
  /** Which time counts as silence. */
  readonly observedTime: ObservedTime;
  /** The time. */
  readonly clock: Clock;
  /** Where the api listens, once it does. */
  readonly ownUrl: () => string;
  /** How late counts are. */
  readonly storeHealth: () => StoreHealth;
  /** How often rules are evaluated. */
  readonly watchIntervalMs: number;
  /** Receives what goes wrong. */
  readonly log: Logger;
}

/** Parts of the routes of alerts, and the watch. */
export interface Alerting {
  /** Rules, mutes and acknowledgements. */
  readonly alertSettings: AlertSettings;
  /** Incidents. */
  readonly incidentLog: IncidentLog;
  /** Channels that are configured. */
  readonly channels: Channels;
  /** Their names. */
  readonly channelNames: ReturnType<typeof configuredChannels>;
  /** Address of an incident on the page. */
  readonly linkOf: (incidentId: number) => string;
  /** Evaluates rules until `signal` is aborted. */
  readonly watchAlerts: (signal: AbortSignal) => Promise<void>;
}

/** See {@linkcode Alerting}. */
export function createAlerting(options: AlertOptions, parts: AlertingParts): Alerting {
  const { webhook, slackUrl, ntfyUrl, alertmanagerUrl, publicUrl } = options;
  const { store, log, ownUrl } = parts;
  const alertSettings = new AlertSettings(store, log);
  const channels = { webhook, slackUrl, ntfyUrl, alertmanagerUrl };
  const linkOf = (incidentId: number) => {
    const base = (publicUrl ?? ownUrl()).replace(/\/+$/, "");
    return `${base}/?view=alerts${incidentId === 0 ? "" : `&incident=${incidentId}`}`;
  };
  return {
    ...{ alertSettings, channels, channelNames: configuredChannels(channels), linkOf },
    incidentLog: new IncidentLog(store),
    watchAlerts: (signal) =>
      watchAlerts({
        ...parts,
        ...{ settings: alertSettings, channels, linkOf, signal },
        groupWaitMs: options.groupWaitMs ?? GROUP_WAIT_MS,
        updateAfterMs: options.updateAfterMs ?? UPDATE_AFTER_MS,
        retryMs: options.webhookRetryMs ?? FIRST_RETRY_MS,
      }),
  };
}
