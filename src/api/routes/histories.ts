/**
 * `/histories`: the packets of several devices over time.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged } from "../http/openapi.ts";
import { historiesJson } from "../responses/history_json.ts";
import { DeviceHistories, HistoriesParameters } from "../schemas/history.ts";

/** What the route needs. */
export interface HistoriesOptions {
  /** Has the histories. */
  readonly store: Pick<Store, "history">;
  /** The time of packets. */
  readonly clock: Clock;
}

const historiesRoute = createRoute({
  method: "get",
  path: "/histories",
  operationId: "getHistories",
  tags: ["Devices"],
  summary: "Show the packets of several devices over time",
  request: { query: HistoriesParameters },
  responses: {
    200: json(DeviceHistories, "The histories"),
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

/** Adds the route. */
export function addHistories(app: OpenAPIHono, { store, clock }: HistoriesOptions): void {
  app.openapi(historiesRoute, async (c) => {
    const { devices } = c.req.valid("query");
    const histories = await historiesJson(store, [...new Set(devices)], clock.unixMs());
    return jsonResponse<DeviceHistories>(c, { histories });
  });
}
