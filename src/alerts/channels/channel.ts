/**
 * Where messages about incidents go, and in which form.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Incident } from "../incidents/incident.ts";
import type { Message } from "../incidents/outbox.ts";
import { type JsonRequest, signedRequest, type Webhook } from "../webhook_request.ts";
import { messageText } from "./message_text.ts";

/** Names of channels; each has a form of its own. */
export const CHANNEL_NAMES = ["webhook", "slack", "ntfy", "alertmanager"] as const;

/** One of them. */
export type ChannelName = typeof CHANNEL_NAMES[number];

/** The channels that are configured. */
export interface Channels {
  /** Signed, by Standard Webhooks. */
  readonly webhook?: Webhook | undefined;
  /** URL of an incoming webhook of Slack, or of a server that takes the same. */
  readonly slackUrl?: string | undefined;
  /** URL of a topic of ntfy. */
  readonly ntfyUrl?: string | undefined;
  /** URL of an Alertmanager, without the path of its API. */
  readonly alertmanagerUrl?: string | undefined;
}

/** Alertmanager resolves an alert that it has not received again for so long; it is sent again long before. */
export const ALERTMANAGER_EXPIRY_MS = 5 * 60_000;

/** Names of the channels that are configured. */
export function configuredChannels(channels: Channels): ChannelName[] {
  const targets = {
    webhook: channels.webhook?.url,
    slack: channels.slackUrl,
    ntfy: channels.ntfyUrl,
    alertmanager: channels.alertmanagerUrl,
  };
  return CHANNEL_NAMES.filter((name) => targets[name] !== undefined);
}

/** A message, or a test of the channel. */
export type ChannelMessage = Pick<Message, "at_ms" | "incident"> & {
  /** What it is about. */
  readonly kind: Message["kind"] | "test";
  /** Unique, and the same each time it is sent. */
  readonly id: number | string;
};

/** The request that brings a message to a channel; `link`: of the incident on the page. */
export function channelRequest(
  name: ChannelName,
  channels: Channels,
  message: ChannelMessage,
  link: string,
  clock: Clock,
): JsonRequest {
  switch (name) {
    case "webhook":
      return signedRequest(channels.webhook!, webhookBody(message, link), clock);
    case "slack":
      return plainRequest(channels.slackUrl!, slackBody(message, link));
    case "ntfy":
      return ntfyRequest(channels.ntfyUrl!, message, link);
    case "alertmanager":
      return alertmanagerRequest(
        channels.alertmanagerUrl!,
        [{ incident: message.incident, link }],
        message.at_ms,
      );
  }
}

/** The request that has all of these incidents in Alertmanager as they are now. */
export function alertmanagerRequest(
  url: string,
  incidents: readonly { readonly incident: Incident; readonly link: string }[],
  nowMs: number,
): JsonRequest {
  const path = url.replace(/\/+$/, "");
  return plainRequest(
    `${path}/api/v2/alerts`,
    incidents.map(({ incident, link }) => alertmanagerAlert(incident, link, nowMs)),
  );
}

function webhookBody({ id, kind, at_ms, incident }: ChannelMessage, link: string) {
  return {
    id: `incident-${incident.id}-${kind}-${id}`,
    body: JSON.stringify({
      type: `incident.${kind}`,
      timestamp: new Date(at_ms).toISOString(),
      data: { incident, ...messageText(kind, incident), link },
    }),
  };
}

function slackBody({ kind, incident }: ChannelMessage, link: string): unknown {
  const { title, text } = messageText(kind, incident);
  // As Slack's own documentation has it: these three are its markup.
  const escape = (plain: string) =>
    plain.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return { text: `*${escape(title)}*\n${escape(text)}\n<${encodeURI(link)}|Show the incident>` };
}

function ntfyRequest(url: string, { kind, incident }: ChannelMessage, link: string): JsonRequest {
  const { title, text } = messageText(kind, incident);
  const topicUrl = new URL(url);
  const path = topicUrl.pathname.replace(/\/+$/, "");
  const at = path.lastIndexOf("/");
  topicUrl.pathname = path.slice(0, at + 1);
  const isCritical = incident.severity === "critical";
  return plainRequest(topicUrl.href, {
    ...{ topic: decodeURIComponent(path.slice(at + 1)), title, message: text, click: link },
    priority: kind === "resolved" || kind === "test" ? 3 : isCritical ? 5 : 4,
    tags: [kind === "resolved" ? "white_check_mark" : kind === "test" ? "bell" : "rotating_light"],
  });
}

function alertmanagerAlert(incident: Incident, link: string, nowMs: number): unknown {
  const { title, text } = messageText(incident.state === "resolved" ? "resolved" : "firing", incident);
  return {
    // The same for as long as the incident lasts: they are its name.
    labels: {
      alertname: incident.rule_name,
      severity: incident.severity,
      rule_id: incident.rule_id,
      incident: String(incident.id),
    },
    annotations: { summary: title, description: text, devices: String(incident.devices) },
    startsAt: new Date(incident.started_ms).toISOString(),
    endsAt: new Date(incident.resolved_ms ?? nowMs + ALERTMANAGER_EXPIRY_MS).toISOString(),
    generatorURL: link,
  };
}

/** `url` may have a user and a password, which `fetch` does not take. */
function plainRequest(url: string, body: unknown): JsonRequest {
  const target = new URL(url);
  const { username, password } = target;
  target.username = target.password = "";
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const headers = credentials === ":"
    ? {}
    : { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` };
  return { url: target.href, headers, body: JSON.stringify(body) };
}
