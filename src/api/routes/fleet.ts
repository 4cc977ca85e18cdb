/**
 * `/fleet`: all devices together, and the ingest processes.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged } from "../http/openapi.ts";
import type { FleetReporter } from "../responses/fleet_reporter.ts";
import { FleetReport } from "../schemas/fleet.ts";
import { NoParameters } from "../schemas/parameters.ts";

/** What the route needs. */
export interface FleetRouteOptions {
  /** Has the fleet's figures. */
  readonly reporter: FleetReporter;
}

const fleetRoute = createRoute({
  method: "get",
  path: "/fleet",
  operationId: "getFleet",
  tags: ["Fleet"],
  summary: "Show the fleet: totals, rates, history, ingest instances",
  request: { query: NoParameters },
  responses: {
    200: json(FleetReport, "The fleet"),
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

/** Adds the route. */
export function addFleet(app: OpenAPIHono, { reporter }: FleetRouteOptions): void {
  app.openapi(fleetRoute, async (c) => jsonResponse<FleetReport>(c, await reporter.report()));
}
