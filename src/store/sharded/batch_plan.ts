/**
 * What a batch is to each shard.
 *
 * @module
 */
import type { Batch, DeviceDelta, SessionAdvance } from "../packets.ts";
import { ShardOffsets } from "./session_shards.ts";
import { shardOf, shardOfDelta } from "./shard_of.ts";

/** A session of a batch. */
export interface PlannedSession {
  /** As it is in the batch. */
  readonly whole: SessionAdvance;
  /** The shard that keeps its committed offset. */
  readonly home: number;
  /** How far shards have it; of one that came without, nothing is known. */
  readonly offsets: ShardOffsets;
}

/** What one shard gets of a batch. */
export interface ShardShare {
  /** Which shard. */
  readonly shard: number;
  /** The devices that are in it. */
  readonly devices: DeviceDelta[];
  /** Sessions whose home it is and that have packets of its devices only, or of none: the committed offset moves. */
  readonly own: PlannedSession[];
  /** Other sessions with packets of its devices. */
  readonly parts: PlannedSession[];
  /** Sessions whose home it is and that have packets of other shards' devices: to be moved last. */
  readonly closing: PlannedSession[];
}

/** A batch, divided. */
export interface BatchPlan {
  /** Of the shards that get something. */
  readonly shares: readonly ShardShare[];
  /** All sessions, in their order. */
  readonly sessions: readonly PlannedSession[];
}

/** Divides a batch among so many shards. */
export function planBatch(batch: Batch, shards: number): BatchPlan {
  const shares = new Array<ShardShare | undefined>(shards).fill(undefined);
  const shareOf = (shard: number) =>
    shares[shard] ??= { shard, devices: [], own: [], parts: [], closing: [] };
  for (const device of batch.devices) shareOf(shardOfDelta(device, shards)).devices.push(device);
  const all = [...shares.keys()].filter((shard) => shares[shard] !== undefined);
  const sessions = batch.sessions.map((whole): PlannedSession => {
    const home = shardOf(whole.session, shards);
    const offsets = whole.shards instanceof ShardOffsets ? whole.shards : ShardOffsets.unknown(shards);
    const session = { whole, home, offsets };
    const touched = whole.deltas === undefined ? all : shardsOf(whole.deltas, shards);
    if (touched.every((shard) => shard === home)) shareOf(home).own.push(session);
    else {
      for (const shard of touched) shareOf(shard).parts.push(session);
      shareOf(home).closing.push(session);
    }
    return session;
  });
  return { shares: shares.filter((share) => share !== undefined), sessions };
}

function shardsOf(deltas: NonNullable<SessionAdvance["deltas"]>, shards: number): readonly number[] {
  const found: number[] = [];
  for (const delta of deltas) {
    const shard = shardOfDelta(delta, shards);
    if (found.includes(shard)) continue;
    found.push(shard);
    if (found.length === shards) break;
  }
  return found;
}
