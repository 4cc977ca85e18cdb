/**
 * `/healthz` and `/readyz`.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

/** What a healthy process responds with. */
export type Health = z.infer<typeof Health>;

/** @internal */
export const Health = z.object({ status: z.literal("ok") }).openapi("Health");
