/**
 * `/devices`: pages of devices.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import type { ListCache } from "../../fleet/list_cache.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged } from "../http/openapi.ts";
import { deviceListJson } from "../responses/device_json.ts";
import { DeviceList, type ListedDevice, ListParameters } from "../schemas/device.ts";

/** What the route needs. */
export interface DevicesOptions {
  /** Has the payloads. */
  readonly store: Pick<Store, "payloads">;
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has their values. */
  readonly values: FleetValues;
  /** Has them in order. */
  readonly lists: ListCache;
  /** The time of packets. */
  readonly clock: Clock;
}

const listRoute = createRoute({
  method: "get",
  path: "/devices",
  operationId: "listDevices",
  tags: ["Devices"],
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

/** Adds the route. */
export function addDevices(app: OpenAPIHono, options: DevicesOptions): void {
  const { store, fleet, lists, values, clock } = options;
  app.openapi(listRoute, async (c) => {
    const { limit, cursor, offset, status, columns, sort, tag, ...rest } = c.req.valid("query");
    await fleet.refresh({ keepWarm: true });
    if (columns.length > 0 || sort.startsWith("value:")) await values.refresh();
    const query = { status, sort, tags: tag, ...rest };
    const { slots, total, nextCursor } = lists.page(query, limit, cursor, offset);
    const nowMs = clock.unixMs();
    const views = slots.map((slot) => fleet.index.viewAt(slot, nowMs));
    const devices: ListedDevice[] = await deviceListJson(store, fleet.labels, views);
    if (columns.length > 0) {
      const valuesAt = values.rowReader(columns);
      for (const [i, device] of devices.entries()) device.values = valuesAt(slots[i]!);
    }
    return jsonResponse<DeviceList>(c, { devices, total, next_cursor: nextCursor ?? null });
  });
}
