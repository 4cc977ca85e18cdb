/**
 * A shard that went back alone.
 *
 * @module
 */
import type { PacketStore, SessionAdvance } from "../packets.ts";
import { partOf } from "./session_shards.ts";

/** A rewind is a batch of its own. */
export interface RewindBatch {
  /** See `Batch`. */
  readonly producer: string;
  /** See `Batch`. */
  readonly sequence: number;
  /** See `Batch`. */
  readonly receivedAtMs: number;
}

/**
 * A shard holds `advance.session` up to `found` only, and has held more: moves the committed offset, in its home, back to
 * there. So the next claim finds what is lost, and a client that has kept it sends it again; what other shards have is
 * beyond the committed offset then. Of the home's own devices that offset alone shows what it has, so in the same step
 * its part moves up to where the offset was.
 */
export async function rewind(
  home: PacketStore,
  { session, epoch, from }: SessionAdvance,
  found: number,
  batch: RewindBatch,
): Promise<void> {
  const part = partOf(session);
  const { committed, refused } = await home.claimSession(
    part,
    0,
    batch.receivedAtMs,
    undefined,
    undefined,
    epoch,
  );
  if (refused !== undefined) return; // A later claim has it.
  const sessions = [
    { session, epoch, from, to: found },
    { session: part, epoch, from: committed, to: Math.max(committed, from) },
  ];
  await home.apply({ ...batch, previous: 0, devices: [], sessions });
}
