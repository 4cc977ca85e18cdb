/**
 * The JSON that readers get, as types for us and as schemas for `/openapi.json`; the compiler compares them.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import type { WebhookFigures } from "../alerts/webhook.ts";
import { apiMetrics } from "../metrics/api_metrics.ts";
import { ingestMetrics } from "../metrics/ingest_metrics.ts";
import { type MetricRow, metricSchema, type SnakeCase } from "./metric_json.ts";

/** One device. Times are Unix milliseconds, rates packets per second. */
export interface DeviceRow {
  /** 1 to 128 bytes of UTF-8. */
  readonly device_id: string;
  /** Online: heard from within `OFFLINE_AFTER`. */
  readonly status: "online" | "offline";
  /** Packets stored since it was first seen. */
  readonly count: number;
  /** Over the last ten seconds; null while the api is younger than that. */
  readonly rate_10s: number | null;
  /** Over the last minute. */
  readonly rate_1m: number;
  /** From one packet to the next, usually; null before the second one. */
  readonly interval_ms: number | null;
  /** Server time of its first packet. */
  readonly first_seen_ms: number;
  /** Server time of its latest packet. */
  readonly last_seen_ms: number;
  /** Greatest timestamp the device gave; one more than a minute ahead of its arrival gives way to any later packet. */
  readonly timestamp_ms: number;
  /** How far that is ahead of the arrival, where it is more than a minute; else 0: the device's clock is off. */
  readonly clock_ahead_ms: number;
  /** What came with that timestamp. */
  readonly payload: PayloadRow;
}

/** A payload, or its beginning. */
export interface PayloadRow {
  /** Length of the whole. */
  readonly bytes: number;
  /** Where it is valid UTF-8. */
  readonly text: string | null;
  /** Where it is not. */
  readonly base64: string | null;
  /** Only the beginning is here. */
  readonly truncated: boolean;
}

/** A page of devices. */
export interface DeviceListPage {
  /** At most as many as asked for. */
  readonly devices: DeviceRow[];
  /** Devices of all pages. */
  readonly total: number;
  /** Asks for the next page; null on the last one. */
  readonly next_cursor: string | null;
}

/** Packets in one second, minute or hour. */
export interface PeriodRow {
  /** When it begins, Unix milliseconds. */
  readonly start_ms: number;
  /** Packets stored. */
  readonly packets: number;
}

/** Packets over time, oldest first; the last period of each list is the running one, which contains `until_ms`. */
export interface HistoryRow {
  /** The moment the history goes up to, Unix milliseconds. */
  readonly until_ms: number;
  /** The last 60. */
  readonly minutes: PeriodRow[];
  /** The last 24. */
  readonly hours: PeriodRow[];
}

/** The histories of several devices. */
export interface HistoriesPage {
  /** In the order of the request; without devices that are not known. */
  readonly histories: CountsOverTime[];
}

/** One device's packets over time, as bare counts, oldest first; the last of each list is of the running period. */
export interface CountsOverTime {
  /** 1 to 128 bytes of UTF-8. */
  readonly device_id: string;
  /** The moment the history goes up to, Unix milliseconds: the running minute and hour contain it. */
  readonly until_ms: number;
  /** Packets in each of the last 60 minutes. */
  readonly minutes: number[];
  /** Packets in each of the last 24 hours. */
  readonly hours: number[];
}

/** An ingest process: what it reports, by the names readers see. */
export type InstanceRow = MetricRow<typeof ingestMetrics>;

/** The api process that answers. */
export type ApiRow = MetricRow<typeof apiMetrics>;

/** The fleet's figures without its history. */
export interface Figures {
  /** Server time, Unix milliseconds. */
  readonly now_ms: number;
  /** Devices known. */
  readonly devices: number;
  /** Of these: heard from within `OFFLINE_AFTER`. */
  readonly online: number;
  /** The others. */
  readonly offline: number;
  /** Packets stored of all devices known. */
  readonly count: number;
  /** Packets per second over the last ten seconds; of a fleet younger than that, since its first packet. */
  readonly rate_10s: number;
  /** Packets per second over the last minute, likewise. */
  readonly rate_1m: number;
  /** `OFFLINE_AFTER`. */
  readonly offline_after_ms: number;
  /** Of `/events`, a second old at most; 0: there is none. */
  readonly last_event_id: number;
  /** Which store it is, and whether it answers. */
  readonly store: {
    readonly description: string;
    readonly ok: boolean;
    /** What it evicts when its memory is full: counts would be lost; null if nothing. */
    readonly eviction_policy: string | null;
    /** How far the api's machine is ahead of the store's clock, in whole seconds; negative: behind. */
    readonly clock_ahead_ms: number;
  };
  /** What this api process has delivered to `ALERT_WEBHOOK_URL`; null: it is not set. */
  readonly webhook: WebhookRow | null;
  /** The ingest processes at work. */
  readonly instances: InstanceRow[];
  /** The process that answers. */
  readonly api: ApiRow;
}

/** What an api process has delivered since it started. */
export type WebhookRow = {
  readonly [Key in keyof WebhookFigures as SnakeCase<Key>]: WebhookFigures[Key];
};

/** The fleet, with its history. */
export interface FleetAnswer extends Figures {
  /** The last 900 seconds, 60 minutes and 24 hours. */
  readonly history: HistoryRow & { readonly seconds: PeriodRow[] };
}

/** The fleet as the live stream sends it. */
export interface LiveFleetEvent extends Figures {
  /** The newest ones. */
  readonly seconds: PeriodRow[];
}

/** A device fell silent or came back. */
export interface EventRow {
  /** One more than the event before it. */
  readonly id: number;
  /** What the device is since. */
  readonly kind: "online" | "offline";
  /** Whose event it is. */
  readonly device_id: string;
  /** When it was noticed, Unix milliseconds. */
  readonly at_ms: number;
  /** Its last packet before the event, Unix milliseconds. */
  readonly last_seen_ms: number;
}

/** A page of events. */
export interface EventListPage {
  /** Oldest first. */
  readonly events: EventRow[];
  /** `after` of the next page. */
  readonly next: number;
}

const count = z.int().min(0);
const unixMs = z.number().min(0).openapi({ description: "Unix milliseconds" });
const rate = z.number().min(0);
const status = z.enum(["online", "offline"]);

/** Every answer that is not 2xx or 304. */
export const Failure: z.ZodType<{ error: string }> = z.object({ error: z.string() }).openapi("Error");

/** `/healthz`, `/readyz`. */
export const Health: z.ZodType<{ status: "ok" }> = z.object({ status: z.literal("ok") }).openapi("Health");

/** `/metrics` as JSON. */
export const Counts: z.ZodType<{ device_id: string; count: number }[]> = z.array(
  z.object({ device_id: z.string(), count }),
).openapi("Counts");

/** One device. */
export const Device: z.ZodType<DeviceRow> = z.object({
  device_id: z.string(),
  status: status.openapi({ description: "online: heard from within OFFLINE_AFTER, by server time" }),
  count: count.openapi({ description: "Packets stored since it was first seen" }),
  rate_10s: rate.nullable().openapi({
    description: "Packets per second over the last ten seconds; null while the api is younger than that",
  }),
  rate_1m: rate.openapi({
    description:
      "Packets per second over the last minute; since its first packet, or since the api's start, " +
      "where that is later",
  }),
  interval_ms: z.number().min(0).nullable().openapi({
    description:
      "Milliseconds from one packet to the next, usually: the median of the last three measured, each over " +
      "five seconds at least; before there are any, the mean since its first packet. null before the second packet",
  }),
  first_seen_ms: unixMs,
  last_seen_ms: unixMs,
  timestamp_ms: unixMs.openapi({
    description:
      "Greatest timestamp the device gave, Unix milliseconds; one more than a minute ahead of its " +
      "arrival gives way to any later packet",
  }),
  clock_ahead_ms: count.openapi({
    description:
      "How far timestamp_ms is ahead of the packet's arrival, where it is more than a minute: the " +
      "device's clock is off; else 0",
  }),
  payload: z.object({
    bytes: count.openapi({ description: "Length of the whole payload" }),
    text: z.string().nullable().openapi({ description: "The payload, where it is valid UTF-8" }),
    base64: z.string().nullable().openapi({ description: "The payload, where it is not" }),
    truncated: z.boolean().openapi({ description: "Only the beginning is here: ask for the device alone" }),
  }),
}).openapi("Device");

/** A page of devices. */
export const DeviceList: z.ZodType<DeviceListPage> = z.object({
  devices: z.array(Device),
  total: count.openapi({ description: "Devices of all pages" }),
  next_cursor: z.string().nullable().openapi({ description: "Asks for the next page; null on the last one" }),
}).openapi("DeviceList");

const Period = z.object({ start_ms: unixMs, packets: count }).openapi("Period");
const periods = (description: string) => z.array(Period).openapi({ description });
const untilMs = unixMs.openapi({
  description:
    "The moment the history goes up to, Unix milliseconds. The last period of each list contains it: " +
    "its packets are those of the time from `start_ms` to this",
});

/** Packets of one device over time. */
export const DeviceHistory: z.ZodType<HistoryRow> = z.object({
  until_ms: untilMs,
  minutes: periods("The last 60, oldest first; the last one is running"),
  hours: periods("The last 24, likewise"),
}).openapi("DeviceHistory");

/** Packets of several devices over time. */
export const DeviceHistories: z.ZodType<HistoriesPage> = z.object({
  histories: z.array(
    z.object({
      device_id: z.string(),
      until_ms: unixMs.openapi({
        description:
          "The moment the history goes up to, Unix milliseconds: the last minute and hour contain it",
      }),
      minutes: z.array(count).openapi({
        description: "Packets in each of the last 60 minutes, oldest first; the last one is running",
      }),
      hours: z.array(count).openapi({ description: "Packets in each of the last 24 hours, likewise" }),
    }),
  ).openapi({ description: "In the order of the request; without devices that are not known" }),
}).openapi("DeviceHistories");

const clockAhead = z.int().openapi({
  description: "How far the clock of its machine is ahead of the store's, in whole seconds; negative: behind",
});

/** An ingest process. */
const Instance = metricSchema(ingestMetrics).openapi("Instance");

/** The api process that answers. */
const Api = metricSchema(apiMetrics).openapi("Api");

const figures = z.object({
  now_ms: unixMs.openapi({ description: "Server time, Unix milliseconds" }),
  devices: count,
  online: count,
  offline: count,
  count: count.openapi({ description: "Packets stored of all devices known" }),
  rate_10s: rate.openapi({
    description: "Packets per second over the last ten seconds; of a younger fleet, since its first packet",
  }),
  rate_1m: rate.openapi({ description: "Packets per second over the last minute, likewise" }),
  offline_after_ms: count,
  last_event_id: count.openapi({
    description: "Newest of /events; when it changes, there are new ones. 0: none",
  }),
  store: z.object({
    description: z.string(),
    ok: z.boolean(),
    eviction_policy: z.string().nullable().openapi({
      description: "What it evicts when its memory is full, so that counts may be lost; null: nothing",
    }),
    clock_ahead_ms: clockAhead,
  }),
  webhook: z.object({
    delivered: count.openapi({ description: "Events its receiver has accepted" }),
    set_aside: count.openapi({ description: "Events its receiver has refused for good" }),
    gaps: count.openapi({ description: "Notices of events that were dropped before they were delivered" }),
    failures: count.openapi({ description: "Attempts that failed in a row" }),
    stopped: z.boolean().openapi({ description: "Its receiver answered 410: nothing more is delivered" }),
  }).nullable().openapi({ description: "Of this api process, since it started; null: there is no webhook" }),
  instances: z.array(Instance),
  api: Api.openapi({ description: "The api process that answers" }),
});

/** The fleet, with its history. */
export const FleetFigures: z.ZodType<FleetAnswer> = figures.extend({
  history: z.object({
    until_ms: untilMs,
    seconds: periods("The last 900, oldest first; the last one is running"),
    minutes: periods("The last 60, likewise"),
    hours: periods("The last 24, likewise"),
  }),
}).openapi("Fleet");

/** The fleet as the live stream sends it. */
export const LiveFleetFigures: z.ZodType<LiveFleetEvent> = figures.extend({
  seconds: periods("The newest ones"),
}).openapi("LiveFleet");

/** A device fell silent or came back. */
export const DeviceEvent: z.ZodType<EventRow> = z.object({
  id: count.openapi({ description: "One more than the event before it" }),
  kind: status,
  device_id: z.string(),
  at_ms: unixMs.openapi({ description: "When it was noticed, Unix milliseconds" }),
  last_seen_ms: unixMs.openapi({ description: "Its last packet before the event, Unix milliseconds" }),
}).openapi("DeviceEvent");

/** A page of events. */
export const DeviceEventList: z.ZodType<EventListPage> = z.object({
  events: z.array(DeviceEvent),
  next: count.openapi({ description: "`after` of the next page; the same again when nothing is new" }),
}).openapi("DeviceEventList");

/** The body of a stream. */
export const EventStream: z.ZodType<string> = z.string().openapi({ description: "Server-Sent Events" });

/** Keywords of JSON Schema 2020-12 that the types of OpenAPI 3.0 lack. */
const liveContent: object = {
  contentMediaType: "text/event-stream",
  contentSchema: {
    anyOf: [
      { $ref: "#/components/schemas/LiveFleet" },
      {
        type: "object",
        required: ["devices", "removed"],
        properties: {
          devices: { type: "array", items: { $ref: "#/components/schemas/Device" } },
          removed: { type: "array", items: { type: "string" } },
        },
      },
      {
        type: "object",
        required: ["ok", "message"],
        properties: { ok: { type: "boolean" }, message: { type: ["string", "null"] } },
      },
    ],
  },
};

/** The same of `/live`, with what its events hold. */
export const LiveStream: z.ZodType<string> = z.string().openapi({
  description: "Server-Sent Events; `contentSchema` is that of the data of each",
  ...liveContent,
});
