/**
 * Packets over time.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { count, unixMs } from "./fields.ts";
import { deviceIds, query } from "./parameters.ts";

/** Packets stored in one second, minute or hour. */
export type Period = z.infer<typeof Period>;

/** @internal */
export const Period = z.object({ start_ms: unixMs, packets: count }).openapi("Period");

/** @internal */
export const periods = (description: string) => z.array(Period).openapi({ description });

/** @internal */
export const untilMs = unixMs.openapi({
  description:
    "The moment the history goes up to, Unix milliseconds. The last period of each list contains it: " +
    "its packets are those of the time from `start_ms` to this",
});

/** Packets of one device over time. */
export type DeviceHistory = z.infer<typeof DeviceHistory>;

/** @internal */
export const DeviceHistory = z.object({
  until_ms: untilMs,
  minutes: periods("The last 60, oldest first; the last one is running"),
  hours: periods("The last 24, likewise"),
}).openapi("DeviceHistory");

/** Packets of several devices over time, as bare counts. */
export type DeviceHistories = z.infer<typeof DeviceHistories>;

/** @internal */
export const DeviceHistories = z.object({
  histories: z.array(
    z.object({
      device_id: z.string(),
      until_ms: unixMs.openapi({
        description:
          "The moment the history goes up to, Unix milliseconds: the last minute and hour contain it",
      }),
      minutes: z.array(count).openapi({
        description: "Packets in each of the last 60 minutes, oldest first; the last one is running",
      }),
      hours: z.array(count).openapi({ description: "Packets in each of the last 24 hours, likewise" }),
    }),
  ).openapi({ description: "In the order of the request; without devices that are not known" }),
}).openapi("DeviceHistories");

/**
 * Whose histories to show.
 * @internal
 */
export const HistoriesParameters = query({ devices: deviceIds("Ids of the devices") });
