/**
 * The JSON that readers get, as types for us and as schemas for `/openapi.json`; the compiler compares them.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import type { InstanceReport } from "../store/store.ts";

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

/** Packets over time, oldest first; the last period of each list is going on. */
export interface HistoryRow {
  /** The last 60. */
  readonly minutes: PeriodRow[];
  /** The last 24. */
  readonly hours: PeriodRow[];
}

/** `queueMaxPackets` becomes `queue_max_packets`. */
export type SnakeCase<Name extends string> = Name extends `${infer Letter}${infer Rest}`
  ? `${Letter extends Lowercase<Letter> ? Letter : `_${Lowercase<Letter>}`}${SnakeCase<Rest>}`
  : "";

/** An ingest process: what it reports, by the names readers see. */
export type InstanceRow = {
  readonly [Key in keyof InstanceReport as SnakeCase<Key>]: InstanceReport[Key];
};

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
  /** Packets per second over the last ten seconds. */
  readonly rate_10s: number;
  /** Packets per second over the last minute. */
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
  /** The ingest processes at work. */
  readonly instances: InstanceRow[];
}

/** The fleet, with its history. */
export interface FleetAnswer extends Figures {
  /** Packets over time, oldest first; the last period of each list is going on. */
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
    description: "Packets per second over the last minute; of an api younger than that, since its start",
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

/** Packets of one device over time. */
export const DeviceHistory: z.ZodType<HistoryRow> = z.object({
  minutes: periods("The last 60, oldest first; the last one is going on"),
  hours: periods("The last 24, likewise"),
}).openapi("DeviceHistory");

const clockAhead = z.int().openapi({
  description: "How far the clock of its machine is ahead of the store's, in whole seconds; negative: behind",
});

/** An ingest process. */
const Instance = z.object({
  instance: z.string(),
  host: z.string(),
  pid: z.int(),
  worker: z.int().openapi({ description: "Number among the workers of one supervisor; 0: not a worker" }),
  started_ms: unixMs,
  reported_ms: unixMs,
  rate: rate.openapi({ description: "Packets stored per second" }),
  streams: count,
  connections: count,
  queue_packets: count,
  queue_max_packets: count,
  received: count,
  stored: count,
  duplicates: count,
  fenced: count,
  rejected: z.record(z.string(), count).openapi({ description: "By the name of the reason" }),
  queue_full: count.openapi({ description: "Times a stream had to wait because the queue was full" }),
  failed_flushes: count.openapi({ description: "Times the store did not take a batch, tried again since" }),
  connections_cut: count.openapi({
    description: "Connections ended for breaking HTTP/2's rules or Tally's bounds, or without a sign of life",
  }),
  calls_refused: count.openapi({ description: "Calls refused for bounds of their connection" }),
  clock_ahead_ms: clockAhead,
  fast_path: z.boolean(),
  ingest_address: z.string(),
}).openapi("Instance");

const figures = z.object({
  now_ms: unixMs.openapi({ description: "Server time, Unix milliseconds" }),
  devices: count,
  online: count,
  offline: count,
  count: count.openapi({ description: "Packets stored of all devices known" }),
  rate_10s: rate,
  rate_1m: rate,
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
  instances: z.array(Instance),
});

/** The fleet, with its history. */
export const FleetFigures: z.ZodType<FleetAnswer> = figures.extend({
  history: z.object({
    seconds: periods("The last 900, oldest first; the last one is going on"),
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
