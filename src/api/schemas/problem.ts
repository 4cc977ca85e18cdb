/**
 * The body of every response that is neither 2xx nor 304.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

/** Why a request failed. */
export type Problem = z.infer<typeof Problem>;

/** @internal */
export const Problem = z.object({ error: z.string() }).openapi("Error");
