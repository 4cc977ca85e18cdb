/**
 * Packets over time: how a device's minutes and hours that are over are kept, and how a history is made of
 * them. `apply.lua` keeps them in the same bytes.
 *
 * @module
 */
import { MAX_VARINT_BYTES, readVarint, varintEnd, writeVarint } from "../../protocol/varint.ts";
import { HISTORY_HOURS, HISTORY_MINUTES, HISTORY_SECONDS } from "../history.ts";
import type { FleetHistory, History, Period } from "../history.ts";

/** Length of the periods, milliseconds. */
export const SECOND_MS = 1000, MINUTE_MS = 60_000, HOUR_MS = 3_600_000;

/** What the fleet's history consists of: periods of so many milliseconds, and how many are shown. */
export const fleetPeriods: readonly (readonly [periodMs: number, shown: number])[] = [
  [SECOND_MS, HISTORY_SECONDS],
  [MINUTE_MS, HISTORY_MINUTES],
  [HOUR_MS, HISTORY_HOURS],
];

/**
 * Packets of the periods that are over, oldest first: the last one is the one before the period going on.
 * At most one less than a history shows.
 */
export interface ClosedPeriods {
  /** By the minute. */
  readonly minutes: readonly number[];
  /** By the hour. */
  readonly hours: readonly number[];
}

/** What a device's record says of its packets over time. */
export interface CurrentPeriods {
  /** When its latest packet was received: the minute and the hour going on are those of this time. */
  readonly lastSeenMs: number;
  /** Packets in that minute. */
  readonly minutePackets: number;
  /** Packets in that hour. */
  readonly hourPackets: number;
}

/** What a device that was never seen before has behind it. */
export const noPeriods: ClosedPeriods = { minutes: [], hours: [] };

/** The periods that are over once a packet is received at `atMs`, in a later minute than the last one. */
export function closePeriods(
  ended: ClosedPeriods,
  { lastSeenMs, minutePackets, hourPackets }: CurrentPeriods,
  atMs: number,
): ClosedPeriods {
  const minutes = Math.floor(atMs / MINUTE_MS) - Math.floor(lastSeenMs / MINUTE_MS);
  const hours = Math.floor(atMs / HOUR_MS) - Math.floor(lastSeenMs / HOUR_MS);
  return {
    minutes: end(ended.minutes, minutePackets, minutes, HISTORY_MINUTES - 1),
    hours: hours === 0 ? ended.hours : end(ended.hours, hourPackets, hours, HISTORY_HOURS - 1),
  };
}

/** Adds the period that ended and the empty ones after it, `gap` in all; keeps the newest `max`. */
function end(periods: readonly number[], packets: number, gap: number, max: number): readonly number[] {
  if (gap > max) return [];
  return [...periods, packets, ...new Array<number>(gap - 1).fill(0)].slice(-max);
}

/** How many minutes, the bytes they take as 16 bits, how many hours; then the packets of each as a varint. */
export function encodeHistory({ minutes, hours }: ClosedPeriods): Uint8Array {
  const bytes = new Uint8Array(4 + MAX_VARINT_BYTES * (minutes.length + hours.length));
  const minutesEnd = writeVarints(bytes, 4, minutes);
  const end = writeVarints(bytes, minutesEnd, hours);
  bytes[0] = minutes.length;
  bytes[1] = (minutesEnd - 4) >> 8;
  bytes[2] = (minutesEnd - 4) & 0xff;
  bytes[3] = hours.length;
  return bytes.subarray(0, end);
}

/** Writes them from `at` on, and returns where they end. */
function writeVarints(bytes: Uint8Array, at: number, values: readonly number[]): number {
  for (const value of values) at = writeVarint(bytes, at, value);
  return at;
}

/** The other way round. */
export function decodeHistory(bytes: Uint8Array): ClosedPeriods {
  const packets: number[] = [];
  for (let at = 4, end; (end = varintEnd(bytes, at)) !== undefined; at = end) {
    packets.push(readVarint(bytes, at, end));
  }
  return { minutes: packets.slice(0, bytes[0]), hours: packets.slice(bytes[0]) };
}

/** A device's history up to `nowMs`, or up to its last packet if that is later. */
export function deviceHistory(goingOn: CurrentPeriods, ended: ClosedPeriods, nowMs: number): History {
  const { lastSeenMs, minutePackets, hourPackets } = goingOn;
  const untilMs = Math.max(nowMs, lastSeenMs);
  const packetsOf = (ended: readonly number[], packets: number, periodMs: number) => (startMs: number) => {
    const ago = (lastSeenMs - lastSeenMs % periodMs - startMs) / periodMs;
    return (ago === 0 ? packets : ended[ended.length - ago]) ?? 0;
  };
  return {
    minutes: periods(untilMs, MINUTE_MS, HISTORY_MINUTES, packetsOf(ended.minutes, minutePackets, MINUTE_MS)),
    hours: periods(untilMs, HOUR_MS, HISTORY_HOURS, packetsOf(ended.hours, hourPackets, HOUR_MS)),
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
  const last = untilMs - untilMs % periodMs;
  return Array.from({ length: count }, (_, i) => {
    const startMs = last - (count - 1 - i) * periodMs;
    return { startMs, packets: packetsOf(startMs) };
  });
}
