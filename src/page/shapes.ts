/**
 * Types of the api's JSON, for checking the page's scripts. This file is not served.
 *
 * @module
 */
import type * as device from "../api/schemas/device.ts";
import type * as event from "../api/schemas/event.ts";
import type * as fleet from "../api/schemas/fleet.ts";
import type * as labels from "../api/schemas/labels.ts";
import type * as history from "../api/schemas/history.ts";
import type * as incident from "../api/schemas/incident.ts";
import type * as rule from "../api/schemas/rule.ts";
import type * as value from "../api/schemas/value.ts";

/** A device, as in `/live` and, with its notes, `/devices/{id}`. */
export type DeviceDetail = device.LiveDevice;

/** A device in the table: as in `/devices`, with the values of the chosen columns by name, or as in `/live`. */
export type DeviceRow = device.ListedDevice | device.LiveDevice;

/** Response of `/devices/{id}/values/{name}`. */
export type ValueSeries = value.ValueSeries;

/** Response of `/values` without a name. */
export type ValueNames = value.ValueNames;

/** A payload; only its beginning when `truncated` is set. */
export type Payload = DeviceRow["payload"];

/** Response of `/devices`. */
export type DeviceList = device.DeviceList;

/** Response of `/tags`. */
export type TagList = labels.TagList;

/** Response of `/devices/{id}/history`. */
export type DeviceHistory = history.DeviceHistory;

/** Response of `/histories`. */
export type DeviceHistories = history.DeviceHistories;

/** Response of `/events`. */
export type DeviceEventList = event.DeviceEventList;

/** A device went offline or came back online. */
export type DeviceEvent = DeviceEventList["events"][number];

/** An incident of `/incidents`. */
export type Incident = incident.Incident;

/** A rule of `/rules`. */
export type Rule = rule.Rule;

/** Response of `/fleet`. */
export type FleetReport = fleet.FleetReport;

/** The fleet's figures that `/fleet` and the frames of `/live` have in common. */
export type FleetFigures = Omit<FleetReport, "history">;

/** A `fleet` frame of `/live`. */
export type FleetFrame = fleet.LiveFleet;

/** An ingest process. */
export type Instance = FleetReport["instances"][number];

/** Packets stored in one second, minute or hour. */
export type HistoryPoint = DeviceHistory["minutes"][number];
