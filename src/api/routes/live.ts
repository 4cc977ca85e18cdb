/**
 * `/live`: the fleet and some devices, as they change.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import { invalid, problem } from "../http/openapi.ts";
import { sseResponse } from "../http/sse_broadcaster.ts";
import type { LiveUpdates } from "../responses/live_updates.ts";
import { LiveFleet } from "../schemas/fleet.ts";
import { LiveBody, LiveParameters } from "../schemas/live.ts";

/** What the route needs. */
export interface LiveOptions {
  /** Has the streams. */
  readonly live: LiveUpdates;
}

const liveRoute = createRoute({
  method: "get",
  path: "/live",
  operationId: "watchFleet",
  tags: ["Fleet"],
  summary: "Watch the fleet and some devices",
  description: "Server-Sent Events, at most four times a second, and only what changed since the last one: " +
    "`fleet` (LiveFleet), `devices` ({devices: LiveDevice[], removed: string[]}, payloads cut as in lists), " +
    "`store` ({ok, message}) when the store is lost and when it is back. A client that connects again is " +
    "sent everything once more. One that reads nothing for ten seconds is dropped.",
  request: { query: LiveParameters },
  responses: {
    200: { description: "The stream", content: { "text/event-stream": { schema: LiveBody } } },
    400: invalid,
    503: problem("Too many clients are connected"),
  },
});

/** Adds the route. */
export function addLive(app: OpenAPIHono, { live }: LiveOptions): void {
  app.openAPIRegistry.register("LiveFleet", LiveFleet);
  app.openapi(liveRoute, (c) => {
    const { devices } = c.req.valid("query");
    return sseResponse(c, (reader) => live.open(devices, reader));
  });
}
