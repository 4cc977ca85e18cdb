/**
 * The packet stream in Redis: a Redis Stream in each shard, which `apply.lua` appends to.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import { isCursor, type PacketStreamReader, PAGE_BYTES } from "../packet_stream.ts";
import { StoreError } from "../store_error.ts";
import type { RedisClient } from "./redis_client.ts";
import { packetsOfScript } from "./scripts.ts";

/** Redis searches some 10,000 small entries, or 2 MiB, in as many milliseconds. */
const SEARCHED_BYTES = 2 ** 21;

/** Reads the stream of one shard, which has the entries of all of its devices: those of one are searched for. */
export function redisPacketStream(client: RedisClient): PacketStreamReader {
  return {
    async packetsOf(deviceId, after, limit) {
      const attempt = `read the packets of device ${deviceId}`;
      if (!isCursor(after)) throw new StoreError(`could not ${attempt}: found a cursor that is none`);
      const args = [deviceId, after, limit, PAGE_BYTES, SEARCHED_BYTES];
      const reply = await client.read(attempt, packetsOfScript, [client.keys.packetStream], args);
      const [found, next, isEnd] = reply as [[Buffer, Buffer, Buffer][], Buffer, number];
      return {
        entries: found.map(([id, received, packets]) => (
          { id: id.toString(), receivedAtMs: Number(received), packets }
        )),
        next: next.toString(),
        isEnd: isEnd === 1,
      };
    },
  };
}
