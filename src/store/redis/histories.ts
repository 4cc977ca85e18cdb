/**
 * Packets over time in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { HISTORY_HOURS, HISTORY_MINUTES, HISTORY_SECONDS, type HistoryStore } from "../history.ts";
import {
  decodeHistory,
  deviceHistory,
  fleetHistory,
  HOUR_MS,
  MINUTE_MS,
  noPeriods,
  SECOND_MS,
} from "../model/periods.ts";
import { countsKey, fleetKey, fleetKeySpansMs, type FleetPeriod, historiesKey, recordsKey } from "./keys.ts";
import { readCount, readRecord } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import { deviceScript, fleetScript, trimFleetScript } from "./scripts.ts";

/** Kinds of periods, their length, and how many are shown. */
const kinds: readonly (readonly [FleetPeriod, periodMs: number, shown: number])[] = [
  ["second", SECOND_MS, HISTORY_SECONDS],
  ["minute", MINUTE_MS, HISTORY_MINUTES],
  ["hour", HOUR_MS, HISTORY_HOURS],
];

/** Histories of devices and of the fleet. */
export function redisHistories(client: RedisClient): HistoryStore {
  return {
    async history(deviceId, nowMs) {
      const attempt = `read the history of device ${deviceId}`;
      const keys = [countsKey, recordsKey, historiesKey];
      const found = await client.read(attempt, deviceScript, keys, [deviceId]);
      const [count, record, history] = found as [Buffer | null, Buffer | null, Buffer | null];
      if (!count || readCount(count) === undefined) return undefined;
      return deviceHistory(readRecord(record), history ? decodeHistory(history) : noPeriods, nowMs);
    },

    async fleetHistory(nowMs) {
      const wanted = kinds.flatMap(([period, periodMs, shown]) => {
        const keys = new Set([fleetKey(period, nowMs)]);
        for (let ago = shown - 1; ago > 0; ago--) keys.add(fleetKey(period, nowMs - ago * periodMs));
        return [...keys].map((key) => ({ periodMs, key }));
      });
      const keys = wanted.map(({ key }) => key);
      const hashes = await client.read("read the fleet's history", fleetScript, keys, []) as Buffer[][];
      const packets = new Map<string, number>();
      for (const [i, fields] of hashes.entries()) {
        const { periodMs } = wanted[i]!;
        for (let at = 0; at < fields.length; at += 2) {
          packets.set(`${periodMs} ${Number(fields[at]) * periodMs}`, Number(fields[at + 1]));
        }
      }
      return fleetHistory(nowMs, (periodMs, startMs) => packets.get(`${periodMs} ${startMs}`));
    },

    async trimFleetHistory(untilMs) {
      // No period is kept for longer than twice as long as it is shown.
      const keys = kinds.flatMap(([period, periodMs, shown]) => {
        const spanMs = fleetKeySpansMs[period];
        const spans = Math.ceil(2 * shown * periodMs / spanMs) + 1;
        return Array.from({ length: spans }, (_, i) => ({
          key: fleetKey(period, untilMs + i * spanMs),
          last: Math.floor(untilMs / periodMs),
        }));
      });
      await client.write(
        "trim the fleet's history",
        trimFleetScript,
        keys.map(({ key }) => key),
        keys.map(({ last }) => last),
      );
    },
  };
}
