/**
 * Request parameters: what is allowed. The `error` of each schema states what it expected; no text of the schema
 * library reaches a client.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";

/** Devices that one request may name. */
const MAX_NAMED_DEVICES = 200;

const idExpected = `expected an id of 1 to ${MAX_DEVICE_ID_BYTES} bytes of UTF-8`;

/** @internal */
export const deviceId = z.string({ error: idExpected }).min(1, idExpected)
  .refine((id) => new TextEncoder().encode(id).length <= MAX_DEVICE_ID_BYTES, { error: idExpected })
  .openapi({
    description: `1 to ${MAX_DEVICE_ID_BYTES} bytes of UTF-8`,
    maxLength: MAX_DEVICE_ID_BYTES,
    example: "sensor-1",
  });

/**
 * Ids, each a parameter of its own.
 * @internal
 */
export function deviceIds(description: string) {
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

/**
 * A whole number. Coercion would turn an empty text into 0.
 * @internal
 */
export function integer(
  minimum: number,
  maximum: number,
  openapi: { description?: string; default?: number } = {},
) {
  const expected = `expected a whole number from ${minimum} to ${maximum}`;
  return z.string({ error: expected }).regex(/^\d{1,15}$/, expected).transform(Number)
    .refine((value) => value >= minimum && value <= maximum, { error: expected })
    .openapi({ type: "integer", minimum, maximum, ...openapi });
}

/**
 * One of some words.
 * @internal
 */
export function choice<const Word extends string>(words: readonly Word[]) {
  return z.enum(words, { error: `expected ${words.join(" or ")}` });
}

/**
 * A text that may be empty.
 * @internal
 */
export function text(maxLength: number, description: string) {
  const expected = `expected a text of at most ${maxLength} characters, once`;
  return z.string({ error: expected }).max(maxLength, expected).openapi({ description });
}

/**
 * A query that may have these parameters and no other.
 * @internal
 */
export function query<const Shape extends z.ZodRawShape>(shape: Shape) {
  const names = Object.keys(shape);
  const known = names.length === 0 ? "none" : names.length === 1 ? names[0]! : `one of ${names.join(", ")}`;
  return z.strictObject(shape, { error: `expected ${known}` });
}

/** @internal */
export const limit = integer(1, 1_000, { default: 100 }).default(100);

/**
 * For paths without parameters.
 * @internal
 */
export const NoParameters = query({});
