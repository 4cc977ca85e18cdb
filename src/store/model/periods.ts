/**
 * Packets over time: how a device's closed minutes and hours are kept, and how a history is made of them.
 * `apply.lua` keeps them in the same bytes.
 *
 * @module
 */
import { MAX_VARINT_BYTES, readVarint, varintEnd, writeVarint } from "../../protocol/varint.ts";
import {
  type FleetHistory,
  type History,
  HISTORY_HOURS,
  HISTORY_MINUTES,
  HISTORY_SECONDS,
  type Period,
} from "../history.ts";
import { type StructLayout, structLayout } from "./struct.ts";

/** Length of the periods, milliseconds. */
export const SECOND_MS = 1000, MINUTE_MS = 60_000, HOUR_MS = 3_600_000;

/** One kind of period. */
export interface PeriodKind {
  /** What it is called. */
  readonly name: "second" | "minute" | "hour";
  /** Its length. */
  readonly periodMs: number;
  /** How many of them a history shows, the current one included. */
  readonly shown: number;
}

/** What the fleet's history consists of, the shortest first. */
export const fleetPeriods: readonly PeriodKind[] = [
  { name: "second", periodMs: SECOND_MS, shown: HISTORY_SECONDS },
  { name: "minute", periodMs: MINUTE_MS, shown: HISTORY_MINUTES },
  { name: "hour", periodMs: HOUR_MS, shown: HISTORY_HOURS },
];

/** When the period of that length begins in which `atMs` lies. */
export function startOf(periodMs: number, atMs: number): number {
  return atMs - atMs % periodMs;
}

/** Packets of the closed periods, oldest first, up to the current one. At most one less than a history shows. */
export interface ClosedPeriods {
  /** By the minute. */
  readonly minutes: readonly number[];
  /** By the hour. */
  readonly hours: readonly number[];
}

/** A device's current minute and hour: those of its latest packet. */
export interface CurrentPeriods {
  /** When its latest packet was received. */
  readonly lastSeenMs: number;
  /** Packets in that minute. */
  readonly minutePackets: number;
  /** Packets in that hour. */
  readonly hourPackets: number;
}

/** Of a device that is new. */
export const noPeriods: ClosedPeriods = { minutes: [], hours: [] };

/** The closed periods once a packet is received at `atMs`, in a later minute than the current one. */
export function closePeriods(
  closed: ClosedPeriods,
  { lastSeenMs, minutePackets, hourPackets }: CurrentPeriods,
  atMs: number,
): ClosedPeriods {
  const minutes = Math.floor(atMs / MINUTE_MS) - Math.floor(lastSeenMs / MINUTE_MS);
  const hours = Math.floor(atMs / HOUR_MS) - Math.floor(lastSeenMs / HOUR_MS);
  return {
    minutes: close(closed.minutes, minutePackets, minutes, HISTORY_MINUTES - 1),
    hours: hours === 0 ? closed.hours : close(closed.hours, hourPackets, hours, HISTORY_HOURS - 1),
  };
}

/** Appends the period that closed and the empty ones after it, `gap` in all; keeps the newest `max`. */
function close(periods: readonly number[], packets: number, gap: number, max: number): readonly number[] {
  if (gap > max) return [];
  return [...periods, packets, ...new Array<number>(gap - 1).fill(0)].slice(-max);
}

/** Begins an encoded history; the packets of each minute, then of each hour, follow as varints. */
export const historyHead: StructLayout<"minutes" | "minuteBytes" | "hours"> = structLayout({
  minutes: "u8",
  minuteBytes: "u16",
  hours: "u8",
});

/** Encodes {@linkcode historyHead} and the packets. */
export function encodeHistory({ minutes, hours }: ClosedPeriods): Uint8Array {
  const { bytes: headBytes, offsets } = historyHead;
  const bytes = new Uint8Array(headBytes + MAX_VARINT_BYTES * (minutes.length + hours.length));
  const minutesEnd = writeVarints(bytes, headBytes, minutes);
  const end = writeVarints(bytes, minutesEnd, hours);
  const head = new DataView(bytes.buffer);
  head.setUint8(offsets.minutes, minutes.length);
  head.setUint16(offsets.minuteBytes, minutesEnd - headBytes);
  head.setUint8(offsets.hours, hours.length);
  return bytes.subarray(0, end);
}

/** Writes `values` from `at` on; returns their end offset. */
function writeVarints(bytes: Uint8Array, at: number, values: readonly number[]): number {
  for (const value of values) at = writeVarint(bytes, at, value);
  return at;
}

/** Decodes what {@linkcode encodeHistory} returned. */
export function decodeHistory(bytes: Uint8Array): ClosedPeriods {
  const packets: number[] = [];
  for (let at = historyHead.bytes, end; (end = varintEnd(bytes, at)) !== undefined; at = end) {
    packets.push(readVarint(bytes, at, end));
  }
  const minutes = bytes[historyHead.offsets.minutes];
  return { minutes: packets.slice(0, minutes), hours: packets.slice(minutes) };
}

/** A device's history up to `nowMs`, or up to its last packet if that is later. */
export function deviceHistory(current: CurrentPeriods, closed: ClosedPeriods, nowMs: number): History {
  const { lastSeenMs, minutePackets, hourPackets } = current;
  const untilMs = Math.max(nowMs, lastSeenMs);
  const packetsOf = (closed: readonly number[], packets: number, periodMs: number) => (startMs: number) => {
    const ago = (startOf(periodMs, lastSeenMs) - startMs) / periodMs;
    return (ago === 0 ? packets : closed[closed.length - ago]) ?? 0;
  };
  return {
    minutes: periods(
      untilMs,
      MINUTE_MS,
      HISTORY_MINUTES,
      packetsOf(closed.minutes, minutePackets, MINUTE_MS),
    ),
    hours: periods(untilMs, HOUR_MS, HISTORY_HOURS, packetsOf(closed.hours, hourPackets, HOUR_MS)),
  };
}

/** The fleet's history up to `nowMs`. `packetsOf`: packets in the period of that length and start, if any. */
export function fleetHistory(
  nowMs: number,
  packetsOf: (periodMs: number, startMs: number) => number | undefined,
): FleetHistory {
  const list = (periodMs: number, count: number) =>
    periods(nowMs, periodMs, count, (startMs) => packetsOf(periodMs, startMs) ?? 0);
  return {
    seconds: list(SECOND_MS, HISTORY_SECONDS),
    minutes: list(MINUTE_MS, HISTORY_MINUTES),
    hours: list(HOUR_MS, HISTORY_HOURS),
  };
}

function periods(
  untilMs: number,
  periodMs: number,
  count: number,
  packetsOf: (startMs: number) => number,
): Period[] {
  const last = startOf(periodMs, untilMs);
  return Array.from({ length: count }, (_, i) => {
    const startMs = last - (count - 1 - i) * periodMs;
    return { startMs, packets: packetsOf(startMs) };
  });
}
