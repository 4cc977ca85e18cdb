/**
 * The routes of the monitor: devices, the fleet, what changes live, and events.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "@hono/hono";

import { RequestError } from "../errors.ts";
import { EVENTS_KEPT, type Store } from "../store/store.ts";
import { deviceRow, deviceRows } from "./device_rows.ts";
import type { EventLog } from "./event_log.ts";
import { type EventFeed, eventJson } from "./events.ts";
import type { Fleet } from "./fleet.ts";
import { type FleetFigures, periodJson } from "./fleet_figures.ts";
import type { Live } from "./live.ts";
import { type Orders, SORT_KEYS } from "./order.ts";
import type { ReaderConnection } from "./reader_server.ts";
import * as schemas from "./schemas.ts";

/** What the routes need. */
export interface DeviceRoutesOptions {
  /** Where devices are read and removed. */
  readonly store: Pick<Store, "device" | "payloads" | "history" | "remove">;
  /** Has the devices. */
  readonly fleet: Fleet;
  /** Has lists of them. */
  readonly orders: Orders;
  /** Has the fleet's figures. */
  readonly figures: FleetFigures;
  /** Serves `/live`. */
  readonly live: Live;
  /** Serves `/events` as a list. */
  readonly eventLog: EventLog;
  /** Serves it as a stream. */
  readonly eventFeed: EventFeed;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
}

const deviceId = z.string().min(1).refine((id) => new TextEncoder().encode(id).length <= 128, {
  error: "longer than 128 bytes of UTF-8",
}).openapi({ description: "1 to 128 bytes of UTF-8", maxLength: 128, example: "sensor-1" });

/** Path parameters of one device. */
const DevicePath = z.object({ id: deviceId.openapi({ param: { name: "id", in: "path" } }) });

/** The same as a query. */
const DeviceQuery = z.object({ id: deviceId });

/** Which devices to list. */
const ListParameters = z.object({
  status: z.enum(["online", "offline"]).optional(),
  prefix: z.string().max(128).default("").openapi({ description: "Beginning of the ids" }),
  sort: z.enum(SORT_KEYS).default("id").openapi({
    description: "rate: over the last ten seconds. Devices with equal keys are ordered by id.",
  }),
  order: z.enum(["asc", "desc"]).default("asc"),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  cursor: z.string().max(1_000).optional().openapi({ description: "next_cursor of the page before" }),
});

/** Devices a live stream may name. */
const MAX_LIVE_DEVICES = 200;

/** What a live stream shows besides the fleet. */
const LiveParameters = z.object({
  devices: z.union([deviceId.transform((id) => [id]), z.array(deviceId).max(MAX_LIVE_DEVICES)]).default([])
    .openapi({
      type: "array",
      items: { type: "string", maxLength: 128 },
      maxItems: MAX_LIVE_DEVICES,
      description: "Ids of the devices to show, each a parameter of its own: devices=a&devices=b",
    }),
});

/** Which events to list. */
const EventParameters = z.object({
  // Made a number by force, an empty text would be 0.
  after: z.string().regex(/^\d{1,15}$/, "not the id of an event").transform(Number).optional().openapi({
    type: "integer",
    minimum: 0,
    maximum: 10 ** 15 - 1,
    description: `Events after this id, oldest first; without it the newest. ${EVENTS_KEPT} are kept.`,
  }),
  device: deviceId.optional().openapi({ description: "Of this device only" }),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});

function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}

const invalid = json(schemas.Failure, "A parameter is not allowed");
const unknown = json(schemas.Failure, "No such device");
const unavailable = json(schemas.Failure, "The store is unreachable: try again");
const tags = ["Devices"];

const listRoute = createRoute({
  method: "get",
  path: "/devices",
  tags,
  summary: "List devices",
  description: "The first page fixes the order of the others for a minute: walking them gives each device " +
    "once, although counts and times move. What is shown of a device is as fresh as its page.",
  request: { query: ListParameters },
  responses: { 200: json(schemas.DeviceList, "A page of devices"), 400: invalid, 503: unavailable },
});

const liveRoute = createRoute({
  method: "get",
  path: "/live",
  tags: ["Fleet"],
  summary: "Watch the fleet and some devices",
  description: "Server-Sent Events, at most four times a second, and only what changed since the last one: " +
    "`fleet` (LiveFleet), `devices` ({devices: Device[], removed: string[]}, payloads cut as in lists), " +
    "`store` ({ok, message}) when the store is lost and when it is back. A client that connects again is " +
    "sent everything once more. One that takes nothing for ten seconds is dropped.",
  request: { query: LiveParameters },
  responses: {
    200: { description: "The stream", content: { "text/event-stream": { schema: schemas.EventStream } } },
    400: invalid,
    503: json(schemas.Failure, "Too many clients are connected"),
  },
});

const fleetRoute = createRoute({
  method: "get",
  path: "/fleet",
  tags: ["Fleet"],
  summary: "Show the fleet: totals, rates, history, ingest instances",
  responses: { 200: json(schemas.FleetFigures, "The fleet"), 503: unavailable },
});

const eventsRoute = createRoute({
  method: "get",
  path: "/events",
  tags: ["Events"],
  summary: "List devices that fell silent or came back, or watch for them",
  description: "With `Accept: text/event-stream`, Server-Sent Events named `online` and `offline`, from " +
    "`Last-Event-ID` or `after` on; without either, those to come.",
  request: { query: EventParameters },
  responses: {
    200: {
      description: "Events, oldest first",
      content: {
        "application/json": { schema: schemas.DeviceEventList },
        "text/event-stream": { schema: schemas.EventStream },
      },
    },
    400: invalid,
    503: unavailable,
  },
});

/** Adds the routes to `app`. */
export function addDeviceRoutes(app: OpenAPIHono, options: DeviceRoutesOptions): void {
  const { store, fleet, orders, figures, live, eventLog, eventFeed, unixNow } = options;
  app.openAPIRegistry.register("LiveFleet", schemas.LiveFleetFigures);

  app.openapi(listRoute, async (c) => {
    const { limit, cursor, ...query } = c.req.valid("query");
    await fleet.fresh();
    const { slots, total, nextCursor } = orders.page({ ...query, status: query.status }, limit, cursor);
    const nowMs = unixNow();
    const devices = await deviceRows(store, slots.map((slot) => fleet.index.viewAt(slot, nowMs)));
    c.header("Cache-Control", "no-store");
    return c.json({ devices, total, next_cursor: nextCursor ?? null }, 200);
  });

  // The second is for ids that the path of a URL cannot carry, such as "." and "..", and comes first for
  // the router's sake: a device named "by-id" is asked for with it too.
  addRoutesOfOne("/devices/by-id", { query: DeviceQuery });
  addRoutesOfOne("/devices/{id}", { params: DevicePath });

  function addRoutesOfOne(
    path: string,
    request: { query: typeof DeviceQuery } | { params: typeof DevicePath },
  ) {
    const idOf = (c: Context) => c.req.param("id") ?? c.req.query("id") ?? "";
    const notFound = (deviceId: string) =>
      new RequestError("NOT_FOUND", `there is no device ${JSON.stringify(deviceId)}`);

    const read = createRoute({
      method: "get",
      path,
      tags,
      summary: "Show a device, with its whole payload",
      request,
      responses: { 200: json(schemas.Device, "The device"), 400: invalid, 404: unknown, 503: unavailable },
    });
    app.openapi(read, async (c) => {
      const deviceId = idOf(c);
      await fleet.fresh();
      const state = await store.device(deviceId);
      fleet.take(deviceId, state);
      if (state === undefined) throw notFound(deviceId);
      const { payload } = state;
      const view = fleet.index.viewAt(fleet.index.slotOf(deviceId)!, unixNow());
      c.header("Cache-Control", "no-store");
      return c.json(deviceRow(view, { bytes: payload, totalBytes: payload.length }), 200);
    });

    const history = createRoute({
      method: "get",
      path: `${path}/history`,
      tags,
      summary: "Show a device's packets over time",
      request,
      responses: {
        200: json(schemas.DeviceHistory, "The history"),
        400: invalid,
        404: unknown,
        503: unavailable,
      },
    });
    app.openapi(history, async (c) => {
      const deviceId = idOf(c);
      const found = await store.history(deviceId, unixNow());
      if (found === undefined) throw notFound(deviceId);
      c.header("Cache-Control", "no-store");
      return c.json({ minutes: found.minutes.map(periodJson), hours: found.hours.map(periodJson) }, 200);
    });

    const remove = createRoute({
      method: "delete",
      path,
      tags,
      summary: "Forget a device",
      description: "Its next packet starts it anew. Refused when a page of another site asks.",
      request,
      responses: {
        204: { description: "It is forgotten" },
        400: invalid,
        403: json(schemas.Failure, "A page of another site asked"),
        404: unknown,
        503: unavailable,
      },
    });
    app.openapi(remove, async (c) => {
      refuseOtherSites(c);
      const deviceId = idOf(c);
      if (!await store.remove(deviceId)) throw notFound(deviceId);
      fleet.take(deviceId, undefined);
      return c.body(null, 204);
    });
  }

  app.openapi(fleetRoute, async (c) => {
    const fleetFigures = await figures.current();
    c.header("Cache-Control", "no-store");
    return c.json(fleetFigures, 200);
  });

  app.openapi(liveRoute, (c) => {
    const { devices } = c.req.valid("query");
    return answerStream(c, () => live.open(devices));
  });

  app.openapi(eventsRoute, async (c) => {
    const { after, device, limit } = c.req.valid("query");
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      return answerStream(c, () => eventFeed.open(eventId(c.req.header("Last-Event-ID")) ?? after, device));
    }
    await eventLog.fresh();
    const events = eventLog.list(after, limit, device).map(eventJson);
    c.header("Cache-Control", "no-store");
    c.header("Vary", "Accept");
    return c.json({ events, next: events.at(-1)?.id ?? after ?? 0 }, 200);
  });
}

function answerStream(c: Context, open: () => ReadableStream<Uint8Array>) {
  c.header("Content-Type", "text/event-stream");
  c.header("Cache-Control", "no-store");
  // Asks nginx, which would keep events back until it has a few KiB of them, not to.
  c.header("X-Accel-Buffering", "no");
  if (c.req.raw.method === "HEAD") return c.body(null);
  const connection: ReaderConnection = c.env;
  return c.body(connection.eventStream(open()));
}

function eventId(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Browsers say which site's page asks; other programs say nothing of it and are not refused. */
function refuseOtherSites(c: Context): void {
  const site = c.req.header("Sec-Fetch-Site");
  const origin = c.req.header("Origin");
  const isOther = site !== undefined
    ? site !== "same-origin" && site !== "none"
    : origin !== undefined && URL.parse(origin)?.host !== c.req.header("Host");
  if (isOther) {
    throw new RequestError("PERMISSION_DENIED", "devices are not removed for pages of another site");
  }
}
