/**
 * The packet stream compared with the counts: whatever was counted is in it, once and in order.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import type { ShardKeys } from "../../src/store/redis/keys.ts";
import type { RedisServer } from "../support/redis_server.ts";
import type { StorePlace } from "./store_place.ts";

/** Timestamps of the packets of each device, in the order of the stream. */
export type StreamedPackets = ReadonlyMap<string, readonly number[]>;

/** So long that nothing is removed of it. */
export const streamSettings: Readonly<Record<string, string>> = { TALLY_PACKET_STREAM: "100000000" };

/** Collects entries, oldest first; those of several streams, if no device is in two of them. */
export class EntryReader {
  readonly packets: Map<string, number[]> = new Map();

  add(deviceId: string, entry: Buffer): void {
    let timestamps = this.packets.get(deviceId);
    if (timestamps === undefined) this.packets.set(deviceId, timestamps = []);
    for (const packet of streamBatches.requestDeserialize(entry).packets) {
      timestamps.push(packet.device_id === deviceId ? packet.timestamp : NaN);
    }
  }

  /** Everything in the stream of one shard. */
  async addShard(server: RedisServer, { packetStream }: ShardKeys): Promise<void> {
    const entries = await server.callBuffer("XRANGE", packetStream, "-", "+") as [Buffer, Buffer[]][];
    for (const [, fields] of entries) this.add(fields[1]!.toString(), fields[5]!);
  }
}

/** One line for each device whose packets in the stream are not those that were counted. */
export async function streamDifferences(
  store: StorePlace,
  counts: ReadonlyMap<string, number>,
): Promise<string[]> {
  const streamed = await store.streamed(), differences: string[] = [];
  for (const deviceId of new Set([...counts.keys(), ...streamed.keys()])) {
    const counted = counts.get(deviceId) ?? 0, timestamps = streamed.get(deviceId) ?? [];
    if (timestamps.length !== counted) {
      differences.push(`${deviceId}: counted ${counted}, but ${timestamps.length} are in the packet stream`);
    }
    // Packets of a session have a timestamp each, greater from one to the next.
    const isOfSession = !deviceId.includes("-call-");
    const wrong = timestamps.findIndex((at, i) =>
      Number.isNaN(at) || isOfSession && at <= timestamps[i - 1]!
    );
    if (wrong >= 0) {
      differences.push(`${deviceId}: packet ${wrong} of the stream, ${timestamps[wrong]}, is out of order`);
    }
  }
  return differences;
}
