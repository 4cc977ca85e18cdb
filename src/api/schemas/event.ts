/**
 * Events: a device went offline or came back.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { EVENTS_KEPT } from "../../store/events.ts";
import { count, deviceStatus, unixMs } from "./fields.ts";
import { nameAndTags, tagFilters } from "./labels.ts";
import { deviceId, integer, limit, query } from "./parameters.ts";

/** A device went offline or came back. */
export type DeviceEvent = z.infer<typeof DeviceEvent>;

/** @internal */
export const DeviceEvent = z.object({
  id: count.openapi({ description: "One more than the event before it" }),
  kind: deviceStatus,
  device_id: z.string(),
  ...nameAndTags,
  at_ms: unixMs.openapi({ description: "When it was noticed, Unix milliseconds" }),
  last_seen_ms: unixMs.openapi({ description: "Its last packet before the event, Unix milliseconds" }),
}).openapi("DeviceEvent");

/** A page of events. */
export type DeviceEventList = z.infer<typeof DeviceEventList>;

/** @internal */
export const DeviceEventList = z.object({
  events: z.array(DeviceEvent),
  next: count.openapi({ description: "`after` of the next page; the same again when nothing is new" }),
}).openapi("DeviceEventList");

/**
 * Which events to list.
 * @internal
 */
export const EventParameters = query({
  after: integer(0, 10 ** 15 - 1, {
    description: `Events after this id, oldest first; without it the newest. ${EVENTS_KEPT} are kept.`,
  }).optional(),
  before: integer(0, 10 ** 15 - 1, {
    description: "Events before this id, the newest of them: the page before the one that begins with it",
  }).optional(),
  device: deviceId.optional().openapi({ description: "Of this device only" }),
  tag: tagFilters,
  limit,
});

/** @internal */
export const EventStreamBody = z.string().openapi({ description: "Server-Sent Events" });
