/**
 * A device, and a page of devices.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { isSortKey, SORT_KEYS } from "../../fleet/list_cache.ts";
import { MAX_NAME_BYTES } from "../../payload/sample.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { count, deviceStatus, rate, unixMs } from "./fields.ts";
import { nameAndTags, tagFilters } from "./labels.ts";
import { choice, deviceId, integer, limit, query, text } from "./parameters.ts";
import { valueFields } from "./value.ts";

/** Names of values that a list shows at most. */
const MAX_COLUMNS = 16;

/** @internal */
export const Payload = z.object({
  bytes: count.openapi({ description: "Length of the whole payload" }),
  text: z.string().nullable().openapi({ description: "The payload, where it is valid UTF-8" }),
  base64: z.string().nullable().openapi({ description: "The payload, where it is not" }),
  truncated: z.boolean().openapi({ description: "Only the beginning: /devices/{id} has the whole" }),
});

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
  payload: Payload,
}).openapi("Device");

/** A device with what it measures. */
export type LiveDevice = z.infer<typeof LiveDevice>;

/** @internal */
export const LiveDevice = Device.extend(valueFields).openapi("LiveDevice");

/** The same, and what only a request for one device has. */
export type DeviceDetail = z.infer<typeof DeviceDetail>;

/** @internal */
export const DeviceDetail = LiveDevice.extend({
  notes: z.string().nullable().openapi({ description: "null: none" }),
}).openapi("DeviceDetail");

/** A device in a list. */
export type ListedDevice = z.infer<typeof ListedDevice>;

/** @internal */
export const ListedDevice = Device.extend({
  values: z.record(z.string(), z.number()).optional().openapi({
    description: "Of the names in `columns`, those that the device has; absent without `columns`",
  }),
}).openapi("ListedDevice");

/** A page of devices. */
export type DeviceList = z.infer<typeof DeviceList>;

/** @internal */
export const DeviceList = z.object({
  devices: z.array(ListedDevice),
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

/** What a list is sorted by. */
const sortKey = z.string().refine(isSortKey, { error: `expected ${SORT_KEYS.join(" or ")} or value:name` })
  .default("id").openapi({
    description:
      `${SORT_KEYS.join(", ")}, or value: and the name of a value. rate: over the last ten seconds. ` +
      "Devices with equal keys are ordered by id; those without the value come last.",
  });

const columnsExpected = `expected at most ${MAX_COLUMNS} names with commas between them`;

/** Names with commas between them; in a name, a comma or a backslash has a backslash before it. */
const columns = text(
  MAX_COLUMNS * (2 * MAX_NAME_BYTES + 1),
  "Names of values to show, with commas between them; a comma in a name is \\,",
)
  .transform((names) => [...new Set(names.match(/(?:\\[\\,]|[^,])+/g) ?? [])])
  .transform((names) => names.map((name) => name.replace(/\\([\\,])/g, "$1")))
  .refine((names) => names.length <= MAX_COLUMNS, { error: columnsExpected });

/**
 * Which devices to list.
 * @internal
 */
export const ListParameters = query({
  status: choice(["online", "offline"]).optional(),
  prefix: text(MAX_DEVICE_ID_BYTES, "Beginning of the ids").default(""),
  search: text(MAX_DEVICE_ID_BYTES, "Any part of the ids or names, in any case").default(""),
  tag: tagFilters,
  sort: sortKey,
  columns: columns.default([]),
  order: choice(["asc", "desc"]).default("asc"),
  limit,
  cursor: text(1_000, "next_cursor of the page before").optional(),
  offset: integer(0, 10_000_000, {
    default: 0,
    description: "Devices before the page, where there is no cursor: to begin in the middle",
  }).default(0),
});
