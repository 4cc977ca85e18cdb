/**
 * What devices measure.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { MAX_NAME_BYTES } from "../../payload/sample.ts";
import { count, unixMs } from "./fields.ts";
import { tagFilters } from "./labels.ts";
import { deviceId, integer, query, text } from "./parameters.ts";

/** The latest number of one name. */
export type Value = z.infer<typeof Value>;

/** @internal */
export const Value = z.object({
  name: z.string().openapi({
    description: "From the payload; what is nested has dots, as in gps.speed or axes.0",
  }),
  value: z.number().openapi({ description: "A boolean is 1 or 0" }),
}).openapi("Value");

/** What a device measured last. */
export type Values = z.infer<typeof Values>;

/**
 * Fields of a device.
 * @internal
 */
export const valueFields = {
  values: z.array(Value).openapi({
    description:
      "The latest number of each name in its payloads, in the order in which they were first found",
  }),
  values_at_ms: unixMs.nullable().openapi({
    description:
      "When the latest packet with any of them was received, Unix milliseconds; null: there are none",
  }),
  values_dropped: count.openapi({
    description:
      "Names in its latest decoded payload that were left out: too many, see TALLY_MAX_VALUES_PER_DEVICE, or too long",
  }),
  attributes: z.record(z.string(), z.string()).openapi({
    description: "The latest text of each name in its payloads, up to 64 bytes each",
  }),
};

/** @internal */
export const Values = z.object(valueFields);

/** A value over time. */
export type ValueSeries = z.infer<typeof ValueSeries>;

/** @internal */
export const ValueSeries = z.object({
  device_id: z.string(),
  name: z.string(),
  from_ms: unixMs,
  until_ms: unixMs,
  step_seconds: count.openapi({ description: "Length of the periods" }),
  points: z.array(
    z.object({
      start_ms: unixMs,
      min: z.number(),
      mean: z.number(),
      max: z.number(),
    }),
  ).openapi({
    description:
      "Least, mean and greatest sample of each period that has one, oldest first; the last may be running",
  }),
}).openapi("ValueSeries");

/** A value over all devices that have it, now. */
export type ValueFigures = z.infer<typeof ValueFigures>;

/** @internal */
export const ValueFigures = z.object({
  name: z.string(),
  devices: count.openapi({ description: "Devices that have it" }),
  figures: z.object({
    min: z.number(),
    mean: z.number(),
    max: z.number(),
    p5: z.number(),
    p50: z.number(),
    p95: z.number(),
    p99: z.number(),
  }).nullable().openapi({ description: "null: no device has it" }),
  top: z.array(z.object({ device_id: z.string(), value: z.number() })).openapi({
    description: "Devices with the greatest values, the greatest first",
  }),
  bottom: z.array(z.object({ device_id: z.string(), value: z.number() })).openapi({
    description: "Devices with the least values, the least first",
  }),
}).openapi("ValueFigures");

/** The names of values that the devices have. */
export type ValueNames = z.infer<typeof ValueNames>;

/** @internal */
export const ValueNames = z.object({
  names: z.array(z.object({ name: z.string(), devices: count })).openapi({
    description: "Those that most devices have come first",
  }),
  omitted: count.openapi({
    description: "Values that are not in lists and figures, for there are too many names",
  }),
  waiting_bytes: count.openapi({
    description: "Bytes of payloads that are stored and not added to the values yet: more when that is late",
  }),
  samples_dropped: count.openapi({
    description:
      "Payloads that were dropped instead, ever, because too many waited; their packets are counted",
  }),
}).openapi("ValueNames");

/** @internal */
export const valueName = text(MAX_NAME_BYTES, "Name of a value").min(1, "expected a name")
  .openapi({ example: "temperature" });

const range = {
  from: integer(0, 9_999_999_999_999, {
    description: "Beginning, Unix milliseconds; default: an hour before `to`",
  }).optional(),
  to: integer(0, 9_999_999_999_999, { description: "End, Unix milliseconds; default: now" }).optional(),
  step: integer(60, 2_592_000, {
    description:
      "Length of the periods, seconds; rounded up to whole minutes, and to whole hours where the " +
      "range begins before the last hour. Default: the least",
  }).optional(),
};

/** @internal */
export const ValuePath = z.strictObject({
  id: deviceId.openapi({ param: { name: "id", in: "path" } }),
  name: valueName.openapi({ param: { name: "name", in: "path" } }),
});

/** @internal */
export const ValueRange = query(range);

/**
 * The same with device and name, for those that the path of a URL cannot carry.
 * @internal
 */
export const ValueQuery = query({ id: deviceId, name: valueName, ...range });

/** @internal */
export const FiguresParameters = query({
  name: valueName.optional().openapi({ description: "Of which value; without it, the names there are" }),
  device: text(MAX_DEVICE_ID_BYTES, "Beginning of the ids").default(""),
  tag: tagFilters,
  limit: integer(0, 100, { default: 10, description: "Devices in `top` and `bottom`" }).default(10),
});
