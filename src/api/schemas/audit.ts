/**
 * Entries of the audit log.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { AUDIT_KEPT } from "../../store/audit.ts";
import { count, unixMs } from "./fields.ts";
import { integer, limit, query } from "./parameters.ts";

/** A page of the audit log. */
export type AuditLog = z.infer<typeof AuditLog>;

/** @internal */
export const AuditLog = z.object({
  entries: z.array(z.object({
    id: count.openapi({ description: "One more than that of the entry before it" }),
    at_ms: unixMs,
    actor: z.string().openapi({ description: "Name of a reader's token, command line, or anonymous" }),
    action: z.string().openapi({ description: "token.add, token.revoke or device.remove" }),
    target: z.string().openapi({ description: "Id of the token or device; of many at once, how many" }),
    detail: z.string(),
  })),
  next: count.nullable().openapi({ description: "`before` of the next page; null on the last one" }),
}).openapi("AuditLog");

/**
 * Which entries to list.
 * @internal
 */
export const AuditParameters = query({
  before: integer(1, 10 ** 15 - 1, {
    description: `Entries before this id; without it the newest. ${AUDIT_KEPT} are kept.`,
  }).optional(),
  limit,
});
