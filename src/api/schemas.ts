/**
 * The JSON that readers get and the parameters they give, as schemas: the types of our answers, the checks
 * of their questions, and what `/openapi.json` says of both.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { EVENTS_KEPT } from "../store/store.ts";
import { SORT_KEYS } from "./order.ts";

const count = z.int().min(0);
const unixMs = z.number().min(0).openapi({ description: "Unix milliseconds" });
const rate = z.number().min(0);
const status = z.enum(["online", "offline"]);
const deviceId = z.string().min(1).refine((id) => new TextEncoder().encode(id).length <= 128, {
  error: "longer than 128 bytes of UTF-8",
}).openapi({ description: "1 to 128 bytes of UTF-8", maxLength: 128, example: "sensor-1" });

/** Every answer that is not 2xx or 304. */
export const Failure = z.object({ error: z.string() }).openapi("Error");

/** `/healthz`, `/readyz`. */
export const Health = z.object({ status: z.literal("ok") }).openapi("Health");

/** `/metrics` as JSON. */
export const Counts = z.array(z.object({ device_id: z.string(), count })).openapi("Counts");

/** One device. */
export const Device = z.object({
  device_id: z.string(),
  status: status.openapi({ description: "online: heard from within OFFLINE_AFTER, by server time" }),
  count: count.openapi({ description: "Packets stored since it was first seen" }),
  rate_10s: rate.nullable().openapi({
    description: "Packets per second over the last ten seconds; null while the api is younger than that",
  }),
  rate_1m: rate.openapi({ description: "Packets per second over the last minute" }),
  first_seen_ms: unixMs,
  last_seen_ms: unixMs,
  timestamp_ms: unixMs.openapi({ description: "Greatest timestamp the device gave, Unix milliseconds" }),
  payload: z.object({
    bytes: count.openapi({ description: "Length of the whole payload" }),
    text: z.string().nullable().openapi({ description: "The payload, where it is valid UTF-8" }),
    base64: z.string().nullable().openapi({ description: "The payload, where it is not" }),
    truncated: z.boolean().openapi({ description: "Only the beginning is here: ask for the device alone" }),
  }),
}).openapi("Device");

/** A page of devices. */
export const DeviceList = z.object({
  devices: z.array(Device),
  total: count.openapi({ description: "Devices of all pages" }),
  next_cursor: z.string().nullable().openapi({ description: "Asks for the next page; null on the last one" }),
}).openapi("DeviceList");

const Period = z.object({ start_ms: unixMs, packets: count }).openapi("Period");
const periods = (description: string) => z.array(Period).openapi({ description });

/** Packets of one device over time. */
export const DeviceHistory = z.object({
  minutes: periods("The last 60, oldest first; the last one is going on"),
  hours: periods("The last 24, likewise"),
}).openapi("DeviceHistory");

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
  store: z.object({ description: z.string(), ok: z.boolean() }),
  instances: z.array(Instance),
});

/** The fleet, with its history. */
export const FleetFigures = figures.extend({
  history: z.object({
    seconds: periods("The last 900, oldest first; the last one is going on"),
    minutes: periods("The last 60, likewise"),
    hours: periods("The last 24, likewise"),
  }),
}).openapi("Fleet");

/** The fleet as the live stream sends it. */
export const LiveFleetFigures = figures.extend({ seconds: periods("The newest ones") }).openapi("LiveFleet");

/** A device fell silent or came back. */
export const DeviceEvent = z.object({
  id: count.openapi({ description: "One more than the event before it" }),
  kind: status,
  device_id: z.string(),
  at_ms: unixMs.openapi({ description: "When it was noticed, Unix milliseconds" }),
  last_seen_ms: unixMs.openapi({ description: "Its last packet before the event, Unix milliseconds" }),
}).openapi("DeviceEvent");

/** A page of events. */
export const DeviceEventList = z.object({
  events: z.array(DeviceEvent),
  next: count.openapi({ description: "`after` of the next page; the same again when nothing is new" }),
}).openapi("DeviceEventList");

/** The body of a stream. */
export const EventStream = z.string().openapi({ description: "Server-Sent Events" });

/** Path parameters of one device. */
export const DevicePath = z.object({ id: deviceId.openapi({ param: { name: "id", in: "path" } }) });

/** The same as a query. */
export const DeviceQuery = z.object({ id: deviceId });

/** Which devices to list. */
export const ListParameters = z.object({
  status: status.optional(),
  prefix: z.string().max(128).default("").openapi({ description: "Beginning of the ids" }),
  sort: z.enum(SORT_KEYS).default("id").openapi({
    description: "rate: over the last ten seconds. Devices with equal keys are ordered by id.",
  }),
  order: z.enum(["asc", "desc"]).default("asc"),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  cursor: z.string().max(1_000).optional().openapi({ description: "next_cursor of the page before" }),
});

/** Devices a live stream may name. */
export const MAX_LIVE_DEVICES = 200;

/** What a live stream shows besides the fleet. */
export const LiveParameters = z.object({
  devices: z.union([deviceId.transform((id) => [id]), z.array(deviceId).max(MAX_LIVE_DEVICES)]).default([])
    .openapi({
      type: "array",
      items: { type: "string", maxLength: 128 },
      maxItems: MAX_LIVE_DEVICES,
      description: "Ids of the devices to show, each a parameter of its own: devices=a&devices=b",
    }),
});

/** Which events to list. */
export const EventParameters = z.object({
  after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional().openapi({
    description: `Events after this id, oldest first; without it the newest. ${EVENTS_KEPT} are kept.`,
  }),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
