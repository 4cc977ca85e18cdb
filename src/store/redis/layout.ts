/**
 * The bytes of what Tally keeps in Redis. `scripts.ts` generates the constants and functions of the Lua prelude
 * from these tables, and `records.ts` reads by their offsets.
 *
 * @module
 */
import type { DeviceSummary } from "../devices.ts";
import type { CurrentPeriods } from "../model/periods.ts";
import { type StructLayout, structLayout } from "../model/struct.ts";

/**
 * Version of all that is kept in Redis, in `layoutKey`. Whoever changes a key or its bytes raises it and adds a
 * step to `scripts/upgrade.lua`.
 */
export const LAYOUT_VERSION = 5;

/** A device's record, without what only the scripts read. */
export type DeviceRecord = Omit<DeviceSummary, "deviceId" | "count"> & CurrentPeriods;

/**
 * A device's record. A short payload follows it: a hash less to read, which is what costs most with many devices.
 * A long one is in the hash of payloads, so that reading a thousand records does not read those.
 */
export const recordLayout: StructLayout<keyof DeviceRecord | "longPayload"> = structLayout({
  firstSeenMs: "f64",
  lastSeenMs: "f64",
  timestampMs: "f64",
  /** Packets in the minute of `lastSeenMs`. */
  minutePackets: "f64",
  /** Packets in the hour of `lastSeenMs`. */
  hourPackets: "f64",
  /** 1: online. 0: offline. */
  online: "u8",
  /** 1: the payload is in the hash of payloads. 0: it follows the record. */
  longPayload: "u8",
});

/** Greatest length of a payload that follows its record. */
export const SHORT_PAYLOAD_BYTES = 64;

/**
 * Head of each part of an entry in the list of changes. A part has at most 1,000 devices: their ids, each preceded
 * by its length in one byte; in a full part also their counts as doubles, and their records.
 */
export const changesHead: StructLayout<"devices" | "kind"> = structLayout({ devices: "u16", kind: "u8" });

/** Kinds of parts: ids alone, which readers look up; ids, counts and records, which saves the lookup; the version. */
export const changesKinds = { invalidation: 0, full: 1, version: 2 } as const;

/** An entry begins with a part that has no devices: its version. */
export const versionHead: StructLayout<"devices" | "kind" | "version"> = structLayout({
  devices: "u16",
  kind: "u8",
  version: "f64",
});
