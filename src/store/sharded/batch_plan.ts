/**
 * What a batch is to each shard.
 *
 * @module
 */
import type { Batch, DeviceDelta, SessionAdvance } from "../packets.ts";
import { shardOf } from "./shard_of.ts";

/** What one shard gets of a batch. */
export interface ShardShare {
  /** The devices that are in it. */
  readonly devices: DeviceDelta[];
  /** Sessions whose home it is and that have packets of its devices only, or of none: the committed offset moves. */
  readonly own: SessionAdvance[];
  /** Other sessions with packets of its devices. */
  readonly parts: SessionAdvance[];
  /** Sessions whose home it is and that have packets of other shards' devices: to be moved last. */
  readonly closing: SessionAdvance[];
}

/** By shard; undefined: nothing. */
export type BatchPlan = readonly (ShardShare | undefined)[];

/** Divides a batch among so many shards. */
export function planBatch(batch: Batch, shards: number): BatchPlan {
  const plan = new Array<ShardShare | undefined>(shards).fill(undefined);
  const shareOf = (shard: number) => plan[shard] ??= { devices: [], own: [], parts: [], closing: [] };
  for (const device of batch.devices) shareOf(shardOf(device.deviceId, shards)).devices.push(device);
  const all = plan.flatMap((share, shard) => share === undefined ? [] : [shard]);
  for (const advance of batch.sessions) {
    const home = shardOf(advance.session, shards);
    const touched = advance.deltas === undefined ? all : shardsOf(advance.deltas, shards);
    if (touched.every((shard) => shard === home)) shareOf(home).own.push(advance);
    else {
      for (const shard of touched) shareOf(shard).parts.push(advance);
      shareOf(home).closing.push(advance);
    }
  }
  return plan;
}

function shardsOf(deltas: NonNullable<SessionAdvance["deltas"]>, shards: number): readonly number[] {
  const found: number[] = [];
  for (const { deviceId } of deltas) {
    const shard = shardOf(deviceId, shards);
    if (found.includes(shard)) continue;
    found.push(shard);
    if (found.length === shards) break;
  }
  return found;
}
