/**
 * `/audit`: who changed what.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { AuditStore } from "../../store/audit.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged } from "../http/openapi.ts";
import { AuditLog, AuditParameters } from "../schemas/audit.ts";

/** What the route needs. */
export interface AuditOptions {
  /** Has the entries. */
  readonly store: Pick<AuditStore, "audit">;
}

const auditRoute = createRoute({
  method: "get",
  path: "/audit",
  operationId: "listAudit",
  tags: ["Access"],
  summary: "List who added, revoked and removed what, newest first",
  request: { query: AuditParameters },
  responses: { 200: json(AuditLog, "A page of entries"), 304: unchanged, 400: invalid, 503: unavailable },
});

/** Adds the route. */
export function addAudit(app: OpenAPIHono, { store }: AuditOptions): void {
  app.openapi(auditRoute, async (c) => {
    const { before, limit } = c.req.valid("query");
    const entries = await store.audit(before, limit);
    return jsonResponse<AuditLog>(c, {
      entries: entries.map(({ atMs, ...entry }) => ({ ...entry, at_ms: atMs })),
      next: entries.length < limit ? null : entries.at(-1)!.id,
    });
  });
}
