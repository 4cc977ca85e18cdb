/**
 * `/healthz` and `/readyz`, for orchestrators and load balancers.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Store } from "../../store/store.ts";
import { invalid, json, unavailable } from "../http/openapi.ts";
import { Health } from "../schemas/health.ts";
import { NoParameters } from "../schemas/parameters.ts";

/** What the routes need. */
export interface HealthOptions {
  /** Has to respond. */
  readonly store: Pick<Store, "ping">;
  /** Has to have read every device. */
  readonly fleet: FleetCache;
  /** Any other reason why `/readyz` responds with 503; undefined: there is none. */
  readonly notReady: () => string | undefined;
}

const healthy = json(Health, "Yes");
const tags = ["Health"];

const healthRoute = createRoute({
  method: "get",
  path: "/healthz",
  operationId: "getHealth",
  tags,
  summary: "Does the process live?",
  request: { query: NoParameters },
  responses: { 200: healthy, 400: invalid },
});

const readinessRoute = createRoute({
  method: "get",
  path: "/readyz",
  operationId: "getReadiness",
  tags,
  summary: "Does the store respond, and have the devices been read?",
  description:
    "After the api's start the response comes when all devices have been read: then no request has " +
    "to wait for that.",
  request: { query: NoParameters },
  responses: { 200: healthy, 400: invalid, 503: unavailable },
});

/** Whether `path` is one of these routes. */
export function isHealthPath(path: string): boolean {
  return path === healthRoute.path || path === readinessRoute.path;
}

/** Adds the routes. */
export function addHealth(app: OpenAPIHono, { store, fleet, notReady }: HealthOptions): void {
  app.openapi(healthRoute, (c) => {
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" as const }, 200);
  });

  app.openapi(readinessRoute, async (c) => {
    await Promise.all([store.ping(), fleet.loaded()]);
    const reason = notReady();
    if (reason !== undefined) throw new RequestError("UNAVAILABLE", reason);
    c.header("Cache-Control", "no-store");
    return c.json({ status: "ok" as const }, 200);
  });
}
