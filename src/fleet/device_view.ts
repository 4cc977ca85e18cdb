/**
 * What the index of all devices returns.
 *
 * @module
 */

/** One device as seen at one moment. Times are Unix milliseconds, rates packets per second. */
export interface DeviceView {
  /** 1 to 128 bytes of UTF-8. */
  readonly deviceId: string;
  /** Last seen within `offlineAfterMs`. */
  readonly online: boolean;
  /** Packets counted since it was first seen. */
  readonly count: number;
  /** Over the last ten seconds; null while the index is younger than that. */
  readonly rate10s: number | null;
  /** Over the last minute, or since the device's first packet, or since the index was complete: the latest of these. */
  readonly rate1m: number;
  /** Milliseconds from one packet to the next, usually; null before the second packet. */
  readonly intervalMs: number | null;
  /** Server time of its first packet. */
  readonly firstSeenMs: number;
  /** Server time of its latest packet. */
  readonly lastSeenMs: number;
  /** Greatest timestamp the device gave. */
  readonly timestampMs: number;
}

/** Every device, by UTF-16 code units of its id. */
export interface SortedDevices {
  /** Ids. */
  readonly ids: readonly string[];
  /** The slot of each. */
  readonly slots: Uint32Array;
}

/** Every device at one moment, in columns. */
export interface DeviceCounts {
  /** By UTF-16 code units. */
  readonly ids: readonly string[];
  /** Packets counted of each. */
  readonly counts: Float64Array;
  /** Server time of each one's latest packet, Unix milliseconds; 0 if another program alone counted it. */
  readonly lastSeenMs: Float64Array;
  /** Packets counted of all devices, those that were removed included: it never falls. */
  readonly packetsEver: number;
}

/** Sums over all devices. */
export interface FleetTotals {
  /** Devices known. */
  readonly devices: number;
  /** Last seen within `offlineAfterMs`. */
  readonly online: number;
  /** Packets counted. */
  readonly count: number;
  /** When the first packet of them all, removed ones too, was received, Unix milliseconds; undefined where none was. */
  readonly firstSeenMs: number | undefined;
}
