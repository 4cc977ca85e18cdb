/**
 * Parts of route definitions that several routes share.
 *
 * @module
 */
import type { z } from "@hono/zod-openapi";

import { Problem } from "../schemas/problem.ts";

/** @internal A response with a JSON body. */
export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}

/** @internal A response with problem details. */
export function problem(description: string) {
  return {
    description,
    content: { "application/problem+json": { schema: Problem }, "application/json": { schema: Problem } },
  };
}

/** @internal */
export const unchanged = { description: "The body is that of `If-None-Match`" };

/** @internal */
export const invalid = problem("A parameter is not allowed");

/** @internal */
export const unavailable = problem("The store is unreachable: try again");

/** @internal */
export const unknownDevice = problem("No such device");
