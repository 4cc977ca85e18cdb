/** @module */
import type { StreamedPackets } from "./streamed_packets.ts";

/** A store as the faults and the comparison see it: beside Tally, by the store's own means. */
export interface StorePlace extends AsyncDisposable {
  /** Settings of ingest number `index`. */
  ingestSettings(index: number): Readonly<Record<string, string>>;
  /** Settings of the api. */
  readonly apiSettings: Readonly<Record<string, string>>;
  /** Resolves when all packets are in the counts that readers see. */
  allCounted(): Promise<void>;
  /** Packets by device. */
  counts(): Promise<Map<string, number>>;
  /** What the packet stream has. */
  streamed(): Promise<StreamedPackets>;
  /** The shard that a device is in, from 0 on. */
  shardOf(deviceId: string): number;
  /**
   * How far each shard has each session: packets of its devices before that are counted. 0 for a session that it does not
   * have.
   */
  held(sessions: readonly string[]): Promise<Map<string, readonly number[]>>;
  /** Runs `body` while no ingest reaches the store, in the middle of whatever they do. */
  withoutTally(body: () => Promise<void>): Promise<void>;
  /** Fails for a moment, for all of Tally: every process has something to log. Resolves when it works again. */
  interrupt(): Promise<void>;
}
