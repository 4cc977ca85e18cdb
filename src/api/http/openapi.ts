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
export const foreignPage = problem("The request came from a page of another site");

/** @internal */
export const unavailable = problem("The store is unreachable: try again");

/** @internal */
export const unknownDevice = problem("No such device");

/** @internal A request with a JSON body. */
export function body<Schema extends z.ZodType>(schema: Schema) {
  return { body: { required: true, content: { "application/json": { schema } } } };
}

/** @internal What a route that changes something with a JSON body may respond with besides. */
export const changeResponses = {
  400: invalid,
  403: foreignPage,
  411: problem("The body has no Content-Length"),
  413: problem("The body is too large"),
  415: problem("The body is not JSON"),
  503: unavailable,
};

/** @internal What a route that removes one thing may respond with; `removed`, `missing`: in which words. */
export function removalResponses(removed: string, missing: ReturnType<typeof problem>) {
  return { 204: { description: removed }, 400: invalid, 403: foreignPage, 404: missing, 503: unavailable };
}
