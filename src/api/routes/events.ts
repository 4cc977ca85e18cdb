/**
 * `/events`: devices that went offline or came back, as a list or as a stream.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import { eventJson } from "../../alerts/event_json.ts";
import type { EventLog } from "../../alerts/event_log.ts";
import type { FleetCache } from "../../fleet/fleet_cache.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, unavailable, unchanged } from "../http/openapi.ts";
import { sseResponse } from "../http/sse_broadcaster.ts";
import type { EventStream } from "../responses/event_stream.ts";
import { DeviceEventList, EventParameters, EventStreamBody } from "../schemas/event.ts";

/** What the route needs. */
export interface EventsOptions {
  /** Has the events for lists. */
  readonly eventLog: EventLog;
  /** Has the names and tags of devices. */
  readonly fleet: FleetCache;
  /** Has the streams. */
  readonly eventStream: EventStream;
}

const eventsRoute = createRoute({
  method: "get",
  path: "/events",
  operationId: "listEvents",
  tags: ["Events"],
  summary: "List devices that went offline or came back, or watch for them",
  description: "With `Accept: text/event-stream`, Server-Sent Events named `online` and `offline`, from " +
    "`Last-Event-ID` or `after` on; without either, those to come.",
  request: { query: EventParameters },
  responses: {
    200: {
      description: "Events, oldest first",
      content: {
        "application/json": { schema: DeviceEventList },
        "text/event-stream": { schema: EventStreamBody },
      },
    },
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

/** Adds the route. */
export function addEvents(app: OpenAPIHono, { eventLog, eventStream, fleet }: EventsOptions): void {
  app.openapi(eventsRoute, async (c) => {
    const { after, before, device, tag, limit } = c.req.valid("query");
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      const lastEventId = eventId(c.req.header("Last-Event-ID"));
      return sseResponse(c, (reader) => eventStream.open(lastEventId ?? after, device, tag, reader));
    }
    const [labels] = await Promise.all([fleet.freshLabels(), eventLog.refresh()]);
    const events = eventLog.list(after, limit, device, before, labels.matcher(tag))
      .map((event) => eventJson(event, labels.of(event.deviceId)));
    c.header("Vary", "Accept");
    return jsonResponse<DeviceEventList>(c, { events, next: events.at(-1)?.id ?? after ?? 0 });
  });
}

/** Undefined where `text`, a `Last-Event-ID`, is none that this route has sent. */
function eventId(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
