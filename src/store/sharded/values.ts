/**
 * What devices measure, of several shards: the values of a device are where the device is.
 *
 * @module
 */
import type { DeviceValues, ValueStore } from "../values.ts";
import { someOf } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";

/** Reads from all shards what is of all devices, and from one what is of one. */
export function shardedValues(reads: ShardReads<ValueStore>): ValueStore {
  const { shards } = reads;
  const shardWith = (deviceId: string) => shards[shardOf(deviceId, shards.length)]!;
  // What a late shard returned last stands for what it has.
  const waiting: { readonly bytes: number; readonly dropped: number }[] = [];

  return {
    async latestValues(deviceIds) {
      const byShard = Map.groupBy(deviceIds, (deviceId) => shardOf(deviceId, shards.length));
      const found = await someOf(
        [...byShard],
        ([index, ids]) => reads.read(index, (shard) => shard.latestValues(ids)),
      );
      return new Map<string, DeviceValues>(found.flatMap((values) => [...values]));
    },

    valueHistory: (deviceId, name) => shardWith(deviceId).valueHistory(deviceId, name),

    async valueChanges(since) {
      const cursors = readCursors(since, shards.length);
      const found = await reads.all((shard, index) => shard.valueChanges(cursors[index]));
      // A late shard's changes come with a later call.
      const cursor = JSON.stringify(found.map((changes, index) => changes?.cursor ?? cursors[index] ?? null));
      const lists = found.map((changes) => changes?.deviceIds ?? []);
      return { cursor, deviceIds: lists.includes("all") ? "all" : (lists as string[][]).flat() };
    },

    async waitingSamples() {
      const found = await reads.all((shard) => shard.waitingSamples());
      for (const [index, samples] of found.entries()) if (samples !== undefined) waiting[index] = samples;
      const sum = (of: "bytes" | "dropped") => waiting.reduce((total, samples) => total + samples[of], 0);
      return { bytes: sum("bytes"), dropped: sum("dropped") };
    },
  };
}

/** Of each shard; undefined: it was not read yet. */
function readCursors(cursor: string | undefined, shards: number): (string | undefined)[] {
  const found: (string | null)[] = cursor === undefined ? [] : JSON.parse(cursor);
  return Array.from({ length: shards }, (_, index) => found[index] ?? undefined);
}
