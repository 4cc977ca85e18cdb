/**
 * Fields that several resources have.
 *
 * A type is inferred from its schema, so that there is one description of each. Doc lint would demand the type
 * of a schema to be written out besides: `@internal` exempts it.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

/** @internal */
export const count = z.int().min(0);

/** @internal */
export const unixMs = z.number().min(0).openapi({ description: "Unix milliseconds" });

/** @internal */
export const rate = z.number().min(0);

/** @internal */
export const deviceStatus = z.enum(["online", "offline"]);

/** @internal */
export const clockAhead = z.int().openapi({
  description:
    "How far the clock of its machine is ahead of the store's, in whole seconds; negative: it lags",
});
