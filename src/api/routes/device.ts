/**
 * `/devices/{id}`: one device, its history, and its removal.
 *
 * @module
 */
import type { Context } from "@hono/hono";
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { Auditor } from "../../identity/auditor.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import { readerOf } from "../http/access.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, removalResponses, unavailable, unchanged, unknownDevice } from "../http/openapi.ts";
import { deviceJson } from "../responses/device_json.ts";
import { historyJson } from "../responses/history_json.ts";
import { valuesJson } from "../responses/value_json.ts";
import { DeviceDetail, DevicePath, DeviceQuery } from "../schemas/device.ts";
import { DeviceHistory } from "../schemas/history.ts";
import { NoParameters } from "../schemas/parameters.ts";

/** What the routes need. */
export interface DeviceOptions {
  /** Where the device is read and removed. */
  readonly store: Pick<Store, "device" | "history" | "latestValues" | "remove" | "notes">;
  /** Has the device. */
  readonly fleet: FleetCache;
  /** The time of packets. */
  readonly clock: Clock;
  /** Records which device was removed, and by which reader. */
  readonly auditor: Auditor;
}

/** The two ways to name a device. */
interface Resource {
  readonly path: string;
  /** Of the operations' ids. */
  readonly suffix: string;
  readonly request: { query: typeof DeviceQuery } | { params: typeof DevicePath; query: typeof NoParameters };
}

const byPath: Resource = {
  path: "/devices/{id}",
  suffix: "",
  request: { params: DevicePath, query: NoParameters },
};

/** For ids that the path of a URL cannot carry, such as "." and "..". */
const byQuery: Resource = { path: "/devices/by-id", suffix: "ById", request: { query: DeviceQuery } };

const tags = ["Devices"];

/** Adds the routes. */
export function addDevice(app: OpenAPIHono, options: DeviceOptions): void {
  // The router takes the first path that matches: a device of the id "by-id" is requested by query too.
  for (const resource of [byQuery, byPath]) {
    addRead(app, options, resource);
    addHistory(app, options, resource);
    addRemove(app, options, resource);
  }
}

function addRead(app: OpenAPIHono, options: DeviceOptions, { path, suffix, request }: Resource): void {
  const { store, fleet, clock } = options;
  const route = createRoute({
    method: "get",
    path,
    operationId: `getDevice${suffix}`,
    tags,
    summary: "Show a device, with its whole payload",
    request,
    responses: {
      200: json(DeviceDetail, "The device"),
      304: unchanged,
      400: invalid,
      404: unknownDevice,
      503: unavailable,
    },
  });
  app.openapi(route, async (c) => {
    const deviceId = idOf(c);
    await fleet.refresh({ keepWarm: true });
    const [state, notes, values] = await Promise.all([
      store.device(deviceId),
      store.notes(deviceId),
      store.latestValues([deviceId]),
    ]);
    fleet.update(deviceId, state);
    if (state === undefined) throw notFound(deviceId);
    const { payload } = state;
    const view = fleet.index.viewAt(fleet.index.slotOf(deviceId)!, clock.unixMs());
    const preview = { bytes: payload, totalBytes: payload.length };
    const device = deviceJson(view, fleet.labels.of(deviceId), preview);
    const measured = valuesJson(values.get(deviceId));
    return jsonResponse<DeviceDetail>(c, { ...device, ...measured, notes: notes || null });
  });
}

function addHistory(app: OpenAPIHono, options: DeviceOptions, { path, suffix, request }: Resource): void {
  const { store, clock } = options;
  const route = createRoute({
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
      404: unknownDevice,
      503: unavailable,
    },
  });
  app.openapi(route, async (c) => {
    const deviceId = idOf(c);
    const nowMs = clock.unixMs();
    const history = await store.history(deviceId, nowMs);
    if (history === undefined) throw notFound(deviceId);
    return jsonResponse<DeviceHistory>(c, historyJson(history, nowMs));
  });
}

function addRemove(app: OpenAPIHono, options: DeviceOptions, { path, suffix, request }: Resource): void {
  const { store, fleet, auditor } = options;
  const route = createRoute({
    method: "delete",
    path,
    operationId: `removeDevice${suffix}`,
    tags,
    summary: "Forget a device",
    description:
      "With its name, tags and notes. Its next packet starts it anew. Refused for a page of another site.",
    request,
    responses: removalResponses("It is forgotten", unknownDevice),
  });
  app.openapi(route, async (c) => {
    const deviceId = idOf(c);
    if (!await store.remove(deviceId)) throw notFound(deviceId);
    fleet.update(deviceId, undefined);
    // Where the store fails now, the next refresh repeats it.
    await fleet.refreshLabels().catch(() => {});
    await auditor.record(readerOf(c).name, "device.remove", [{ target: deviceId, detail: "" }]);
    return c.body(null, 204);
  });
}

function idOf(c: Context): string {
  return c.req.param("id") ?? c.req.query("id") ?? "";
}

/** The error for an id that no device has. */
export function notFound(deviceId: string): RequestError {
  return new RequestError("NOT_FOUND", `there is no device ${JSON.stringify(deviceId)}`);
}
