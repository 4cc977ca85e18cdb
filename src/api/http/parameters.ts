/**
 * Request parameters: what is allowed, and the error for one that is not. The `error` of each schema states what
 * it expected; no text of the schema library reaches a client.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { EVENTS_KEPT } from "../../store/events.ts";
import { type ListQuery, SORT_KEYS } from "../../fleet/listing.ts";

/** Devices that one request may name. */
export const MAX_NAMED_DEVICES = 200;

const idExpected = `expected an id of 1 to ${MAX_DEVICE_ID_BYTES} bytes of UTF-8`;

const deviceId = z.string({ error: idExpected }).min(1, idExpected)
  .refine((id) => new TextEncoder().encode(id).length <= MAX_DEVICE_ID_BYTES, { error: idExpected })
  .openapi({
    description: `1 to ${MAX_DEVICE_ID_BYTES} bytes of UTF-8`,
    maxLength: MAX_DEVICE_ID_BYTES,
    example: "sensor-1",
  });

/** Ids, each a parameter of its own. */
function deviceIds(description: string) {
  const expected = `${idExpected}, ${MAX_NAMED_DEVICES} of them at most`;
  return z.union([deviceId.transform((id) => [id]), z.array(deviceId).max(MAX_NAMED_DEVICES)], {
    error: expected,
  }).openapi({
    type: "array",
    items: { type: "string", minLength: 1, maxLength: MAX_DEVICE_ID_BYTES },
    maxItems: MAX_NAMED_DEVICES,
    description: `${description}, each a parameter of its own: devices=a&devices=b`,
  });
}

/** A whole number. Coercion would turn an empty text into 0. */
function integer(minimum: number, maximum: number, openapi: { description?: string; default?: number } = {}) {
  const expected = `expected a whole number from ${minimum} to ${maximum}`;
  return z.string({ error: expected }).regex(/^\d{1,15}$/, expected).transform(Number)
    .refine((value) => value >= minimum && value <= maximum, { error: expected })
    .openapi({ type: "integer", minimum, maximum, ...openapi });
}

function choice<const Word extends string>(words: readonly Word[]) {
  return z.enum(words, { error: `expected ${words.join(" or ")}` });
}

function text(maxLength: number, description: string) {
  const expected = `expected a text of at most ${maxLength} characters, once`;
  return z.string({ error: expected }).max(maxLength, expected).openapi({ description });
}

/** A query that may have these parameters and no other. */
function query<const Shape extends z.ZodRawShape>(shape: Shape) {
  const names = Object.keys(shape);
  const known = names.length === 0 ? "none" : names.length === 1 ? names[0]! : `one of ${names.join(", ")}`;
  return z.strictObject(shape, { error: `expected ${known}` });
}

const limit = integer(1, 1_000, { default: 100 }).default(100);

/** The schema of parameters that come to `Values`. */
export type Query<Values> = z.ZodObject<
  { readonly [Key in keyof Values]-?: z.ZodType<Values[Key]> },
  z.core.$strict
>;

/** A device. */
export interface DeviceParameters {
  /** 1 to 128 bytes of UTF-8. */
  readonly id: string;
}

/** Which devices to list, and from where on. */
export interface ListParameterValues extends Omit<ListQuery, "status"> {
  /** Only these; undefined: both. */
  readonly status?: ListQuery["status"];
  /** Devices of a page, at most. */
  readonly limit: number;
  /** `next_cursor` of the page before; undefined: the first page. */
  readonly cursor?: string | undefined;
  /** Devices before the page, where there is no cursor. */
  readonly offset: number;
}

/** Several devices. */
export interface DevicesParameters {
  /** Their ids. */
  readonly devices: string[];
}

/** Which events to list. */
export interface EventParameterValues {
  /** Events after this id; undefined: the newest. */
  readonly after?: number | undefined;
  /** Events before this id; undefined: up to the newest. */
  readonly before?: number | undefined;
  /** Of this device only. */
  readonly device?: string | undefined;
  /** Events at most. */
  readonly limit: number;
}

/** For paths without parameters. */
export const NoParameters: Query<Record<never, never>> = query({});

/** Path parameters of one device. */
export const DevicePath: Query<DeviceParameters> = z.strictObject({
  id: deviceId.openapi({ param: { name: "id", in: "path" } }),
});

/** The same as a query. */
export const DeviceQuery: Query<DeviceParameters> = query({ id: deviceId });

/** Which devices to list. */
export const ListParameters: Query<ListParameterValues> = query({
  status: choice(["online", "offline"]).optional(),
  prefix: text(MAX_DEVICE_ID_BYTES, "Beginning of the ids").default(""),
  search: text(MAX_DEVICE_ID_BYTES, "Any part of the ids, in any case").default(""),
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

/** What a live stream shows besides the fleet. */
export const LiveParameters: Query<DevicesParameters> = query({
  devices: deviceIds("Ids of the devices to show").default([]),
});

/** Whose histories to show. */
export const HistoriesParameters: Query<DevicesParameters> = query({
  devices: deviceIds("Ids of the devices"),
});

/** Which events to list. */
export const EventParameters: Query<EventParameterValues> = query({
  after: integer(0, 10 ** 15 - 1, {
    description: `Events after this id, oldest first; without it the newest. ${EVENTS_KEPT} are kept.`,
  }).optional(),
  before: integer(0, 10 ** 15 - 1, {
    description: "Events before this id, the newest of them: the page before the one that begins with it",
  }).optional(),
  device: deviceId.optional().openapi({ description: "Of this device only" }),
  limit,
});

/** The error for parameters, `given`, that a schema refused. */
export function parameterError(given: unknown, issues: readonly z.core.$ZodIssue[]): RequestError {
  const problems = issues.map((issue) => {
    if (issue.code === "unrecognized_keys") {
      const names = issue.keys.map(shown).join(", ");
      return `Cannot use the parameter ${names}: found no such parameter here; ${issue.message}`;
    }
    const name = issue.path.join(".");
    const value = issue.path.reduce<unknown>(
      (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
      given,
    );
    const found = value === undefined
      ? "nothing"
      : Array.isArray(value)
      ? `${value.length} values`
      : shown(value);
    return `Cannot use the parameter ${name}: found ${found}; ${issue.message}`;
  });
  return new RequestError("INVALID_ARGUMENT", problems.join("; "));
}

/** As JSON, shortened to what fits a line. */
function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}… of ${text.length} characters`;
}
