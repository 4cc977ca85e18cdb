/**
 * Packets over time of several shards.
 *
 * @module
 */
import type { FleetHistory, HistoryStore, Period } from "../history.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";

/** Reads from all shards what is of all devices, and from one what is of one. */
export function shardedHistories(reads: ShardReads<HistoryStore>): HistoryStore {
  const { shards } = reads;
  // What a late shard returned last stands for what it has.
  const histories: FleetHistory[] = [];

  return {
    history: (deviceId, nowMs) => shards[shardOf(deviceId, shards.length)]!.history(deviceId, nowMs),

    async fleetHistory(nowMs) {
      const found = await reads.all((shard) => shard.fleetHistory(nowMs));
      for (const [index, history] of found.entries()) if (history !== undefined) histories[index] = history;
      const current = found.find((history) => history !== undefined)!;
      const sumOf = (of: (history: FleetHistory) => readonly Period[]) =>
        sumOfPeriods(of(current), Object.values(histories).map(of));
      return {
        seconds: sumOf(({ seconds }) => seconds),
        minutes: sumOf(({ minutes }) => minutes),
        hours: sumOf(({ hours }) => hours),
      };
    },

    trimFleetHistory: async (untilMs) =>
      void await allSettled(shards.map((shard) => shard.trimFleetHistory(untilMs))),
  };
}

/** Of the periods of `current`; a late shard's history begins and ends earlier. */
function sumOfPeriods(current: readonly Period[], lists: readonly (readonly Period[])[]): Period[] {
  const firstMs = current[0]!.startMs, periodMs = current[1]!.startMs - firstMs;
  const packets = current.map(() => 0);
  for (const list of lists) {
    const offset = Math.round((list[0]!.startMs - firstMs) / periodMs);
    for (const [i, period] of list.entries()) {
      if (offset + i in packets) packets[offset + i]! += period.packets;
    }
  }
  return current.map(({ startMs }, i) => ({ startMs, packets: packets[i]! }));
}
