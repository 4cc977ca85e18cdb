/**
 * The api's JSON as the page reads it: types only, never served.
 *
 * @module
 */
import type * as device from "../api/schemas/device.ts";
import type * as event from "../api/schemas/event.ts";
import type * as fleet from "../api/schemas/fleet.ts";
import type * as history from "../api/schemas/history.ts";

/** A device of `/devices`, `/devices/{id}` and `/live`. */
export type DeviceRow = device.Device;

/** A payload, or its beginning. */
export type Payload = DeviceRow["payload"];

/** `/devices`. */
export type DevicePage = device.DeviceList;

/** `/devices/{id}/history`. */
export type DeviceHistory = history.DeviceHistory;

/** `/histories`. */
export type DeviceHistories = history.DeviceHistories;

/** `/events`. */
export type EventList = event.DeviceEventList;

/** A device went silent or came back. */
export type DeviceEvent = EventList["events"][number];

/** `/fleet`. */
export type FleetReport = fleet.FleetReport;

/** The fleet's figures, as both have them. */
export type FleetFigures = Omit<FleetReport, "history">;

/** A `fleet` frame of `/live`. */
export type FleetFrame = fleet.LiveFleet;

/** An ingest process. */
export type Instance = FleetReport["instances"][number];

/** Packets stored in one second, minute or hour. */
export type HistoryPoint = DeviceHistory["minutes"][number];
