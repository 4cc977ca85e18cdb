/**
 * `/metrics` as JSON.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { count } from "./fields.ts";

/** Every device's count. */
export type Counts = z.infer<typeof Counts>;

/** @internal */
export const Counts = z.array(z.object({ device_id: z.string(), count })).openapi("Counts");
