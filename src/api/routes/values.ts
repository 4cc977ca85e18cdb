/**
 * `/values`: what all devices measure now; and one value of one device over time.
 *
 * @module
 */
import type { Context } from "@hono/hono";
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { FleetValues } from "../../fleet/fleet_values.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Store } from "../../store/store.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, problem, unavailable, unchanged } from "../http/openapi.ts";
import { assertOrdered } from "../http/parameter_error.ts";
import { figuresJson } from "../responses/value_figures.ts";
import { seriesJson, type SeriesRange } from "../responses/value_json.ts";
import {
  FiguresParameters,
  ValueFigures,
  ValueNames,
  ValuePath,
  ValueQuery,
  ValueRange,
  ValueSeries,
} from "../schemas/value.ts";

/** What the routes need. */
export interface ValuesOptions {
  /** Has the values over time. */
  readonly store: Pick<Store, "valueHistory" | "waitingSamples">;
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has their values. */
  readonly values: FleetValues;
  /** The time of packets. */
  readonly clock: Clock;
}

const responses = {
  304: unchanged,
  400: invalid,
  503: unavailable,
};

const figuresRoute = createRoute({
  method: "get",
  path: "/values",
  operationId: "getValues",
  tags: ["Values"],
  summary: "Show a value over all devices, now; or the names there are",
  description:
    "With `name`: least, mean, greatest and percentiles over the devices that have it, all or those with the " +
    "beginning of an id, or the tags; and the devices with the greatest and the least. Without: the names, and " +
    "how many devices have each.",
  request: { query: FiguresParameters },
  responses: { 200: json(ValueFigures.or(ValueNames), "The figures, or the names"), ...responses },
});

const seriesResponses = {
  200: json(ValueSeries, "The value over time"),
  404: problem("No such device, or it does not have the value"),
  ...responses,
};

const seriesSummary = {
  tags: ["Values"],
  summary: "Show a value of a device over time",
  description:
    "Of the last hour by the minute, of the last 30 days by the hour. Closed periods are rounded, at most " +
    "by 1/100 of the range within 20 minutes, and by 1/25 of that within the day.",
};

const pathRoute = createRoute({
  method: "get",
  path: "/devices/{id}/values/{name}",
  operationId: "getDeviceValue",
  ...seriesSummary,
  request: { params: ValuePath, query: ValueRange },
  responses: seriesResponses,
});

/** For ids and names that the path of a URL cannot carry, such as "." and "..". */
const queryRoute = createRoute({
  method: "get",
  path: "/devices/by-id/values",
  operationId: "getDeviceValueById",
  ...seriesSummary,
  request: { query: ValueQuery },
  responses: seriesResponses,
});

/** Adds the routes. */
export function addValues(app: OpenAPIHono, options: ValuesOptions): void {
  const { store, fleet, values } = options;
  app.openapi(figuresRoute, async (c) => {
    const { name, device: prefix, tag, limit } = c.req.valid("query");
    await fleet.refresh({ keepWarm: true });
    await values.refresh();
    if (name !== undefined) {
      const hasTags = fleet.labels.matcher(tag);
      return jsonResponse<ValueFigures>(
        c,
        figuresJson(fleet.index, values, { name, prefix, hasTags, limit }),
      );
    }
    const { bytes, dropped } = await store.waitingSamples();
    return jsonResponse<ValueNames>(c, {
      names: values.names(),
      omitted: values.omitted,
      waiting_bytes: bytes,
      samples_dropped: dropped,
    });
  });
  app.openapi(queryRoute, async (c) => {
    const { id, name, ...range } = c.req.valid("query");
    return await series(c, options, id, name, range);
  });
  app.openapi(pathRoute, async (c) => {
    const { id, name } = c.req.valid("param");
    return await series(c, options, id, name, c.req.valid("query"));
  });
}

async function series(
  c: Context,
  { store, clock }: ValuesOptions,
  deviceId: string,
  name: string,
  range: SeriesRange,
): Promise<Response> {
  assertOrdered(range);
  const history = await store.valueHistory(deviceId, name);
  if (history === undefined) {
    const [device, value] = [JSON.stringify(deviceId), JSON.stringify(name)];
    throw new RequestError("NOT_FOUND", `there is no device ${device} with a value ${value}`);
  }
  return jsonResponse<ValueSeries>(c, seriesJson({ deviceId, name }, history, range, clock.unixMs()));
}
