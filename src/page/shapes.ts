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

/** A device, as in `/devices/{id}` and `/live`. */
export type DeviceDetail = device.Device & Partial<Measured>;

/** A device in the table, as in `/devices` and `/live`. */
export type DeviceRow = device.Device & {
  /** Its latest numbers: of the chosen columns by name, or all. */
  readonly values?: Readonly<Record<string, number>> | Measured["values"] | undefined;
};

/** What a device measured last. */
export interface Measured {
  /** Its latest numbers. */
  readonly values: readonly { readonly name: string; readonly value: number }[];
  /** When they were received, Unix milliseconds. */
  readonly values_at_ms: number | null;
  /** Names that were left out, being too many or too long. */
  readonly values_dropped: number;
  /** Latest texts, by name. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** Response of `/devices/{id}/values/{name}`. */
export interface ValueSeries {
  /** Length of the periods. */
  readonly step_seconds: number;
  /** Of the periods that have samples, oldest first. */
  readonly points: readonly {
    readonly start_ms: number;
    readonly min: number;
    readonly mean: number;
    readonly max: number;
  }[];
}

/** Response of `/values` without a name. */
export interface ValueNames {
  /** Those that most devices have come first. */
  readonly names: readonly { readonly name: string; readonly devices: number }[];
}

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
