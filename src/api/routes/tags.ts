/**
 * `/tags`: all tags, with figures of the devices that have them.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import type { FleetCache } from "../../fleet/fleet_cache.ts";
import type { TagReport } from "../../fleet/tag_figures.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged } from "../http/openapi.ts";
import { TagList, TagParameters } from "../schemas/labels.ts";

/** What the route needs. */
export interface TagsOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Has the figures. */
  readonly tagReport: TagReport;
}

const tagsRoute = createRoute({
  method: "get",
  path: "/tags",
  operationId: "listTags",
  tags: ["Fleet"],
  summary: "List tags, with figures of their devices",
  description:
    "Of devices that have sent a packet. The figures are a second old at most, of large fleets five.",
  request: { query: TagParameters },
  responses: { 200: json(TagList, "The tags"), 304: unchanged, 400: invalid, 503: unavailable },
});

/** Adds the route. */
export function addTags(app: OpenAPIHono, { fleet, tagReport }: TagsOptions): void {
  app.openapi(tagsRoute, async (c) => {
    const { key: only, limit } = c.req.valid("query");
    await fleet.refresh({ keepWarm: true });
    const keys = [...tagReport.figures()].filter(([key]) => only === undefined || key === only);
    return jsonResponse<TagList>(c, {
      keys: keys.map(([key, values]) => ({
        key,
        devices: values.reduce((sum, { devices }) => sum + devices, 0),
        values: values.slice(0, limit).map(({ tag, devices, online, count, rate10s }) => ({
          ...{ value: tag.value, devices, online, count, rate_10s: Math.round(rate10s * 1_000) / 1_000 },
        })),
        values_total: values.length,
      })),
    });
  });
}
