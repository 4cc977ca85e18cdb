/**
 * Devices of several shards.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import type { DeviceStore } from "../devices.ts";
import { StoreError } from "../store_error.ts";
import { ShardedChanges } from "./changes.ts";
import { allSettled, someOf } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";
import type { VersionNumbers } from "./versions.ts";

/** Reads from all shards what is of all devices, and from one what is of one. */
export function shardedDevices(
  reads: ShardReads<DeviceStore>,
  numbers: VersionNumbers,
  clock: Clock,
): DeviceStore {
  const { shards } = reads;
  const shardWith = (deviceId: string) => shards[shardOf(deviceId, shards.length)]!;
  const byShard = (deviceIds: readonly string[]) => [
    ...Map.groupBy(deviceIds, (deviceId) => shardOf(deviceId, shards.length)),
  ];
  const changes = new ShardedChanges(reads, numbers, clock, (shard, since) => shard.changes(since));
  // What a late shard returned last stands for what it has.
  const removed: number[] = [];

  return {
    scan: (onPartial) => scanShards(reads, (shard) => shard.scan(), onPartial),

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
  };
}

/** Those that answer first; a shard that fails is left out. Rejects if all do. */
export async function* scanShards<Shard, Page>(
  reads: ShardReads<Shard>,
  scan: (shard: Shard) => AsyncIterable<Page>,
  onPartial: () => void = () => {},
): AsyncGenerator<Page> {
  const indexes = [...reads.shards.keys()];
  const isLate = (index: number) => reads.lateSinceMs(index) !== undefined ? 1 : 0;
  let failure: StoreError | undefined, isAnyRead = false;
  for (const index of indexes.toSorted((a, b) => isLate(a) - isLate(b))) {
    try {
      yield* scan(reads.shards[index]!);
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

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
