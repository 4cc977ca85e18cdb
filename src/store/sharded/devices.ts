/**
 * Devices of several shards, and their histories.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import type { DeviceStore } from "../devices.ts";
import type { FleetHistory, HistoryStore, Period } from "../history.ts";
import { StoreError } from "../store_error.ts";
import { ShardedChanges } from "./changes.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";
import type { VersionNumbers } from "./versions.ts";

type Shard = DeviceStore & HistoryStore;

/** Reads from all shards what is of all devices, and from one what is of one. */
export function shardedDevices(reads: ShardReads<Shard>, numbers: VersionNumbers, clock: Clock): Shard {
  const { shards } = reads;
  const shardWith = (deviceId: string) => shards[shardOf(deviceId, shards.length)]!;
  const byShard = (deviceIds: readonly string[]) => [
    ...Map.groupBy(deviceIds, (deviceId) => shardOf(deviceId, shards.length)),
  ];
  const changes = new ShardedChanges(reads, numbers, clock);
  // What a late shard returned last stands for what it has.
  const histories: FleetHistory[] = [], removed: number[] = [];

  return {
    scan: (onPartial) => scan(reads, onPartial),

    summaries: async (deviceIds) => {
      const found = byShard(deviceIds).map(([index, ids]) =>
        reads.read(index, (shard) => shard.summaries(ids))
      );
      return (await allSettled(found)).flat();
    },

    changes: (since) => changes.read(since),
    device: (deviceId) => shardWith(deviceId).device(deviceId),

    payloads: async (deviceIds, maxBytes) => {
      const found = await someOf(
        byShard(deviceIds),
        ([index, ids]) => reads.read(index, (shard) => shard.payloads(ids, maxBytes)),
      );
      return new Map(found.flatMap((previews) => [...previews]));
    },

    async removedPackets() {
      const found = await reads.all((shard) => shard.removedPackets());
      for (const [index, packets] of found.entries()) removed[index] = packets ?? removed[index] ?? 0;
      return sum(removed);
    },

    remove: (deviceId) => shardWith(deviceId).remove(deviceId),

    removeUnseen: async (deviceIds, lastSeenBeforeMs) =>
      sum(
        await someOf(
          byShard(deviceIds),
          ([index, ids]) => shards[index]!.removeUnseen(ids, lastSeenBeforeMs),
        ),
      ),

    history: (deviceId, nowMs) => shardWith(deviceId).history(deviceId, nowMs),

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

/** Those that answer first; a shard that fails is left out. Rejects if all do. */
async function* scan(reads: ShardReads<DeviceStore>, onPartial = () => {}) {
  const indexes = [...reads.shards.keys()];
  const isLate = (index: number) => reads.lateSinceMs(index) !== undefined ? 1 : 0;
  let failure: StoreError | undefined, isAnyRead = false;
  for (const index of indexes.toSorted((a, b) => isLate(a) - isLate(b))) {
    try {
      yield* reads.shards[index]!.scan();
      isAnyRead = true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      failure = error;
    }
  }
  if (failure === undefined) return;
  if (!isAnyRead) throw failure;
  onPartial();
}

/** What came of calls of some shards: those that fail are left out. Rejects if all do. */
export async function someOf<Call, T>(calls: readonly Call[], run: (call: Call) => Promise<T>): Promise<T[]> {
  const results = await Promise.allSettled(calls.map(run));
  const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
  const unexpected = failed.find((error) => !(error instanceof StoreError));
  if (unexpected !== undefined) throw unexpected;
  if (failed.length > 0 && failed.length === calls.length) throw failed[0];
  return results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
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
