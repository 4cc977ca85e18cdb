/**
 * A device, and a page of devices.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { SORT_KEYS } from "../../fleet/list_cache.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { count, deviceStatus, rate, unixMs } from "./fields.ts";
import { nameAndTags, tagFilters } from "./labels.ts";
import { choice, deviceId, integer, limit, query, text } from "./parameters.ts";

/** A device as readers get it. Times are Unix milliseconds, rates packets per second. */
export type Device = z.infer<typeof Device>;

/** @internal */
export const Device = z.object({
  device_id: z.string(),
  ...nameAndTags,
  status: deviceStatus.openapi({
    description: "online: its latest packet came within TALLY_OFFLINE_AFTER, by server time",
  }),
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
    truncated: z.boolean().openapi({ description: "Only the beginning: /devices/{id} has the whole" }),
  }),
}).openapi("Device");

/** A device, and what only {@linkcode Device} of one has. */
export type DeviceDetail = z.infer<typeof DeviceDetail>;

/** @internal */
export const DeviceDetail = Device.extend({
  notes: z.string().nullable().openapi({ description: "null: none" }),
}).openapi("DeviceDetail");

/** A page of devices. */
export type DeviceList = z.infer<typeof DeviceList>;

/** @internal */
export const DeviceList = z.object({
  devices: z.array(Device),
  total: count.openapi({ description: "Devices of all pages" }),
  next_cursor: z.string().nullable().openapi({
    description: "`cursor` of the next page; null on the last one",
  }),
}).openapi("DeviceList");

/**
 * Path parameters of one device.
 * @internal
 */
export const DevicePath = z.strictObject({
  id: deviceId.openapi({ param: { name: "id", in: "path" } }),
});

/**
 * The same as a query.
 * @internal
 */
export const DeviceQuery = query({ id: deviceId });

/**
 * Which devices to list.
 * @internal
 */
export const ListParameters = query({
  status: choice(["online", "offline"]).optional(),
  prefix: text(MAX_DEVICE_ID_BYTES, "Beginning of the ids").default(""),
  search: text(MAX_DEVICE_ID_BYTES, "Any part of the ids or names, in any case").default(""),
  tag: tagFilters,
  sort: choice(SORT_KEYS).default("id").openapi({
    description: "rate: over the last ten seconds. Devices with equal keys are ordered by id.",
  }),
  order: choice(["asc", "desc"]).default("asc"),
  limit,
  cursor: text(1_000, "next_cursor of the page before").optional(),
  offset: integer(0, 10_000_000, {
    default: 0,
    description: "Devices before the page, where there is no cursor: to begin in the middle",
  }).default(0),
});
