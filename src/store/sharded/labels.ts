/**
 * Labels of devices of several shards: each is in the shard of its device.
 *
 * @module
 */
import type { Clock } from "../../runtime/clock.ts";
import type { LabelStore } from "../labels.ts";
import { ShardedChanges } from "./changes.ts";
import { scanShards } from "./devices.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";
import type { ShardReads } from "./shard_reads.ts";
import { VersionNumbers } from "./versions.ts";

/** Reads from all shards what is of all devices, and from one what is of one. */
export function shardedLabels(reads: ShardReads<LabelStore>, clock: Clock): LabelStore {
  const { shards } = reads;
  const indexOf = (deviceId: string) => shardOf(deviceId, shards.length);
  const changes = new ShardedChanges(
    reads,
    new VersionNumbers(),
    clock,
    (shard, since) => shard.labelChanges(since),
  );

  return {
    async setLabels(all) {
      const byShard = Map.groupBy(all, ({ deviceId }) => indexOf(deviceId));
      const refusals = await allSettled([...byShard].map(([index, some]) => shards[index]!.setLabels(some)));
      return refusals.find((refusal) => refusal !== undefined);
    },

    async labels(deviceIds) {
      const byShard = Map.groupBy(deviceIds, indexOf);
      const found = await allSettled(
        [...byShard].map(([index, ids]) => reads.read(index, (shard) => shard.labels(ids))),
      );
      return new Map(found.flatMap((labels) => [...labels]));
    },

    notes: (deviceId) => shards[indexOf(deviceId)]!.notes(deviceId),
    scanLabels: (onPartial) => scanShards(reads, (shard) => shard.scanLabels(), onPartial),
    labelChanges: (since) => changes.read(since),
  };
}
