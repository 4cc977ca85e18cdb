/**
 * The api's JSON as the page reads it: types only, never served.
 *
 * @module
 */
import type { z } from "@hono/zod-openapi";

import type * as schemas from "../api/schemas.ts";

/** A device of `/devices`, `/devices/{id}` and `/live`. */
export type DeviceRow = z.infer<typeof schemas.Device>;

/** A payload, or its beginning. */
export type Payload = DeviceRow["payload"];

/** `/devices`. */
export type DevicePage = z.infer<typeof schemas.DeviceList>;

/** `/devices/{id}/history`. */
export type DeviceHistory = z.infer<typeof schemas.DeviceHistory>;

/** `/histories`. */
export type DeviceHistories = z.infer<typeof schemas.DeviceHistories>;

/** `/events`. */
export type EventList = z.infer<typeof schemas.DeviceEventList>;

/** A device went silent or came back. */
export type DeviceEvent = EventList["events"][number];

/** `/fleet`. */
export type FleetReport = z.infer<typeof schemas.FleetFigures>;

/** The fleet's figures, as both have them. */
export type FleetFigures = Omit<FleetReport, "history">;

/** A `fleet` frame of `/live`. */
export type FleetFrame = z.infer<typeof schemas.LiveFleetFigures>;

/** An ingest process. */
export type Instance = FleetReport["instances"][number];

/** Packets stored in one second, minute or hour. */
export type HistoryPoint = DeviceHistory["minutes"][number];
