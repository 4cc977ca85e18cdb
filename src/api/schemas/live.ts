/**
 * `/live`: what its events hold.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { deviceIds, query } from "./parameters.ts";

/** Keywords of JSON Schema 2020-12 that the types of OpenAPI 3.0 lack. */
const liveContent: object = {
  contentMediaType: "text/event-stream",
  contentSchema: {
    anyOf: [
      { $ref: "#/components/schemas/LiveFleet" },
      {
        type: "object",
        required: ["devices", "removed"],
        properties: {
          devices: { type: "array", items: { $ref: "#/components/schemas/LiveDevice" } },
          removed: { type: "array", items: { type: "string" } },
        },
      },
      {
        type: "object",
        required: ["ok", "message"],
        properties: { ok: { type: "boolean" }, message: { type: ["string", "null"] } },
      },
    ],
  },
};

/** @internal */
export const LiveBody = z.string().openapi({
  description: "Server-Sent Events; `contentSchema` is that of the data of each",
  ...liveContent,
});

/**
 * Which devices to show besides the fleet.
 * @internal
 */
export const LiveParameters = query({ devices: deviceIds("Ids of the devices to show").default([]) });
