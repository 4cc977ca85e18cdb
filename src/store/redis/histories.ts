/**
 * Packets over time in Redis.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { HistoryStore } from "../history.ts";
import { decodeHistory, deviceHistory, fleetHistory, fleetPeriods, noPeriods } from "../model/periods.ts";
import { fleetKeySpansMs } from "./keys.ts";
import { readCount, readRecord } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import { deviceScript, fleetScript, trimFleetScript } from "./scripts.ts";

/** Histories of devices and of the fleet. */
export function redisHistories(client: RedisClient): HistoryStore {
  const names = client.keys;
  return {
    async history(deviceId, nowMs) {
      const attempt = `read the history of device ${deviceId}`;
      const keys = [names.counts, names.records, names.histories];
      const found = await client.read(attempt, deviceScript, keys, [deviceId]);
      const [count, record, history] = found as [Buffer | null, Buffer | null, Buffer | null];
      if (!count || readCount(count) === undefined) return undefined;
      return deviceHistory(readRecord(record), history ? decodeHistory(history) : noPeriods, nowMs);
    },

    async fleetHistory(nowMs) {
      const wanted = fleetPeriods.flatMap(({ name, periodMs, shown }) => {
        const keys = new Set([names.fleet(name, nowMs)]);
        for (let ago = shown - 1; ago > 0; ago--) keys.add(names.fleet(name, nowMs - ago * periodMs));
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
      const keys = fleetPeriods.flatMap(({ name, periodMs, shown }) => {
        const spanMs = fleetKeySpansMs[name];
        const spans = Math.ceil(2 * shown * periodMs / spanMs) + 1;
        return Array.from({ length: spans }, (_, i) => ({
          key: names.fleet(name, untilMs + i * spanMs),
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
