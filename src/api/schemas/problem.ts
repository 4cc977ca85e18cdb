/**
 * The body of every response that is neither 2xx nor 304.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

/** Why a request failed: problem details by RFC 9457. */
export type Problem = z.infer<typeof Problem>;

/** @internal */
export const Problem = z.object({
  type: z.string().openapi({ description: "about:blank: the status is the kind of problem" }),
  title: z.string().openapi({ description: "Reason phrase of the status" }),
  status: z.int().openapi({ description: "HTTP status" }),
  detail: z.string().openapi({ description: "What was attempted, what was found, and what to do" }),
  instance: z.string().optional().openapi({ description: "Path of the request" }),
  error: z.string().openapi({ description: "The same as `detail`" }),
}).openapi("Error");
