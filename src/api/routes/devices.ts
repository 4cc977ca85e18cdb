/**
 * The routes of the monitor: devices, the fleet, what changes live, and events.
 *
 * @module
 */
import { createRoute, type OpenAPIHono, type z } from "@hono/zod-openapi";
import type { Context } from "@hono/hono";

import { RequestError } from "../../protocol/request_error.ts";
import type { History, Period } from "../../store/history.ts";
import type { Store } from "../../store/store.ts";
import { answerJson } from "../http/answers.ts";
import { deviceRow, deviceRows } from "../responses/device_rows.ts";
import type { EventLog } from "../../alerts/event_log.ts";
import { eventJson } from "../../alerts/event_json.ts";
import type { EventFeed } from "../../alerts/offline_watch.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import type { FleetReporter } from "../responses/fleet_reporter.ts";
import type { Live } from "./live.ts";
import type { Orders } from "../../fleet/listing.ts";
import {
  DevicePath,
  DeviceQuery,
  EventParameters,
  HistoriesParameters,
  ListParameters,
  LiveParameters,
  NoParameters,
} from "../http/parameters.ts";
import type { ReaderConnection } from "../http/reader_server.ts";
import { Device, DeviceList } from "../schemas/device.ts";
import { DeviceEventList } from "../schemas/event.ts";
import { FleetReport, LiveFleet } from "../schemas/fleet.ts";
import { DeviceHistories, DeviceHistory, periodJson } from "../schemas/history.ts";
import { Problem } from "../schemas/problem.ts";
import { LiveBody, SseBody } from "../schemas/stream.ts";

/** What the routes need. */
export interface DeviceRoutesOptions {
  /** Where devices are read and removed. */
  readonly store: Pick<Store, "device" | "payloads" | "history" | "remove">;
  /** Has the devices. */
  readonly fleet: Fleet;
  /** Has lists of them. */
  readonly orders: Orders;
  /** Has the fleet's figures. */
  readonly figures: FleetReporter;
  /** Serves `/live`. */
  readonly live: Live;
  /** Serves `/events` as a list. */
  readonly eventLog: EventLog;
  /** Serves it as a stream. */
  readonly eventFeed: EventFeed;
  /** Unix milliseconds. */
  readonly unixNow: () => number;
}

function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}

const invalid = json(Problem, "A parameter is not allowed");
const unchanged = { description: "It is that of `If-None-Match`" };
const unknown = json(Problem, "No such device");
const unavailable = json(Problem, "The store is unreachable: try again");
const tags = ["Devices"];

const listRoute = createRoute({
  method: "get",
  path: "/devices",
  operationId: "listDevices",
  tags,
  summary: "List devices",
  description: "The first page fixes the order of the others for a minute: walking them gives each device " +
    "once, although counts and times move. What is shown of a device is as fresh as its page.",
  request: { query: ListParameters },
  responses: {
    200: json(DeviceList, "A page of devices"),
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

const historiesRoute = createRoute({
  method: "get",
  path: "/histories",
  operationId: "getHistories",
  tags,
  summary: "Show the packets of several devices over time",
  request: { query: HistoriesParameters },
  responses: {
    200: json(DeviceHistories, "The histories"),
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

const liveRoute = createRoute({
  method: "get",
  path: "/live",
  operationId: "watchFleet",
  tags: ["Fleet"],
  summary: "Watch the fleet and some devices",
  description: "Server-Sent Events, at most four times a second, and only what changed since the last one: " +
    "`fleet` (LiveFleet), `devices` ({devices: Device[], removed: string[]}, payloads cut as in lists), " +
    "`store` ({ok, message}) when the store is lost and when it is back. A client that connects again is " +
    "sent everything once more. One that takes nothing for ten seconds is dropped.",
  request: { query: LiveParameters },
  responses: {
    200: { description: "The stream", content: { "text/event-stream": { schema: LiveBody } } },
    400: invalid,
    503: json(Problem, "Too many clients are connected"),
  },
});

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

const eventsRoute = createRoute({
  method: "get",
  path: "/events",
  operationId: "listEvents",
  tags: ["Events"],
  summary: "List devices that fell silent or came back, or watch for them",
  description: "With `Accept: text/event-stream`, Server-Sent Events named `online` and `offline`, from " +
    "`Last-Event-ID` or `after` on; without either, those to come.",
  request: { query: EventParameters },
  responses: {
    200: {
      description: "Events, oldest first",
      content: {
        "application/json": { schema: DeviceEventList },
        "text/event-stream": { schema: SseBody },
      },
    },
    304: unchanged,
    400: invalid,
    503: unavailable,
  },
});

/** Adds the routes to `app`. */
export function addDeviceRoutes(app: OpenAPIHono, options: DeviceRoutesOptions): void {
  const { store, fleet, orders, figures, live, eventLog, eventFeed, unixNow } = options;
  app.openAPIRegistry.register("LiveFleet", LiveFleet);

  app.openapi(listRoute, async (c) => {
    const { limit, cursor, offset, ...query } = c.req.valid("query");
    await fleet.fresh();
    const asked = { ...query, status: query.status };
    const { slots, total, nextCursor } = orders.page(asked, limit, cursor, offset);
    const nowMs = unixNow();
    const devices = await deviceRows(store, slots.map((slot) => fleet.index.viewAt(slot, nowMs)));
    return answerJson<DeviceList>(c, { devices, total, next_cursor: nextCursor ?? null });
  });

  app.openapi(historiesRoute, async (c) => {
    const { devices } = c.req.valid("query");
    const histories = await countsOverTime(store, [...new Set(devices)], unixNow());
    return answerJson<DeviceHistories>(c, { histories });
  });

  // The second is for ids that the path of a URL cannot carry, such as "." and "..", and comes first for
  // the router's sake: a device named "by-id" is asked for with it too.
  addRoutesOfOne("/devices/by-id", { query: DeviceQuery }, "ById");
  addRoutesOfOne("/devices/{id}", { params: DevicePath, query: NoParameters }, "");

  function addRoutesOfOne(
    path: string,
    request: { query: typeof DeviceQuery } | { params: typeof DevicePath; query: typeof NoParameters },
    suffix: string,
  ) {
    const idOf = (c: Context) => c.req.param("id") ?? c.req.query("id") ?? "";
    const notFound = (deviceId: string) =>
      new RequestError("NOT_FOUND", `there is no device ${JSON.stringify(deviceId)}`);

    const read = createRoute({
      method: "get",
      path,
      operationId: `getDevice${suffix}`,
      tags,
      summary: "Show a device, with its whole payload",
      request,
      responses: {
        200: json(Device, "The device"),
        304: unchanged,
        400: invalid,
        404: unknown,
        503: unavailable,
      },
    });
    app.openapi(read, async (c) => {
      const deviceId = idOf(c);
      await fleet.fresh();
      const state = await store.device(deviceId);
      fleet.take(deviceId, state);
      if (state === undefined) throw notFound(deviceId);
      const { payload } = state;
      const view = fleet.index.viewAt(fleet.index.slotOf(deviceId)!, unixNow());
      return answerJson<Device>(
        c,
        deviceRow(view, { bytes: payload, totalBytes: payload.length }),
      );
    });

    const history = createRoute({
      method: "get",
      path: `${path}/history`,
      operationId: `getDeviceHistory${suffix}`,
      tags,
      summary: "Show a device's packets over time",
      request,
      responses: {
        200: json(DeviceHistory, "The history"),
        304: unchanged,
        400: invalid,
        404: unknown,
        503: unavailable,
      },
    });
    app.openapi(history, async (c) => {
      const deviceId = idOf(c);
      const nowMs = unixNow();
      const found = await store.history(deviceId, nowMs);
      if (found === undefined) throw notFound(deviceId);
      return answerJson<DeviceHistory>(c, {
        until_ms: untilMs(found, nowMs),
        minutes: found.minutes.map(periodJson),
        hours: found.hours.map(periodJson),
      });
    });

    const remove = createRoute({
      method: "delete",
      path,
      operationId: `removeDevice${suffix}`,
      tags,
      summary: "Forget a device",
      description: "Its next packet starts it anew. Refused when a page of another site asks.",
      request,
      responses: {
        204: { description: "It is forgotten" },
        400: invalid,
        403: json(Problem, "A page of another site asked"),
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
    return answerJson<FleetReport>(c, fleetFigures);
  });

  app.openapi(liveRoute, (c) => {
    const { devices } = c.req.valid("query");
    return answerStream(c, () => live.open(devices));
  });

  app.openapi(eventsRoute, async (c) => {
    const { after, before, device, limit } = c.req.valid("query");
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      return answerStream(c, () => eventFeed.open(eventId(c.req.header("Last-Event-ID")) ?? after, device));
    }
    await eventLog.fresh();
    const events = eventLog.list(after, limit, device, before).map(eventJson);
    c.header("Vary", "Accept");
    return answerJson<DeviceEventList>(c, { events, next: events.at(-1)?.id ?? after ?? 0 });
  });
}

/** Histories read at once, each some 20 µs of Redis' time, so that they do not delay other readers. */
const HISTORIES_AT_ONCE = 50;

/** In the order of `deviceIds`, without those that are not known. Rejects as the store does. */
async function countsOverTime(
  store: Pick<Store, "history">,
  deviceIds: readonly string[],
  nowMs: number,
): Promise<DeviceHistories["histories"][number][]> {
  const rows: DeviceHistories["histories"][number][] = [];
  for (let start = 0; start < deviceIds.length; start += HISTORIES_AT_ONCE) {
    const ids = deviceIds.slice(start, start + HISTORIES_AT_ONCE);
    const histories = await Promise.all(ids.map((id) => store.history(id, nowMs)));
    for (const [i, history] of histories.entries()) {
      if (history === undefined) continue;
      const packetsOf = (periods: readonly Period[]) => periods.map(({ packets }) => packets);
      const [minutes, hours] = [packetsOf(history.minutes), packetsOf(history.hours)];
      rows.push({ device_id: ids[i]!, until_ms: untilMs(history, nowMs), minutes, hours });
    }
  }
  return rows;
}

/** How far a history goes: to `nowMs`, or into the minute of the last packet where other clocks are ahead of ours. */
function untilMs({ minutes }: History, nowMs: number): number {
  return Math.max(nowMs, minutes.at(-1)?.startMs ?? 0);
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
