/**
 * Which shard has what.
 *
 * @module
 */
import { fnv1a, fnv1aOfAscii } from "../../runtime/fnv.ts";
import type { DeviceDelta } from "../packets.ts";

/**
 * The shard, from 0 on, of a device or session, by its id or name: FNV-1a of 32 bits over the UTF-8, modulo the number
 * of shards. It must never change: where a device is stored follows from it.
 */
export function shardOf(name: string, shards: number): number {
  const hash = fnv1aOfAscii(name);
  if (hash !== undefined) return (hash >>> 0) % shards;
  const bytes = utf8.encode(name);
  return shardOfBytes(bytes, bytes.length, shards);
}

/** The shard of a delta's device: of its bytes, where it has them, as the id would first have to be made of them. */
export function shardOfDelta(delta: Pick<DeviceDelta, "deviceId" | "bytes">, shards: number): number {
  const { bytes } = delta;
  if (bytes === undefined) return shardOf(delta.deviceId, shards);
  bytes.writeId(id, 0);
  return shardOfBytes(id, bytes.idBytes, shards);
}

function shardOfBytes(bytes: Uint8Array, length: number, shards: number): number {
  return (fnv1a(bytes, 0, length) >>> 0) % shards;
}

const utf8 = new TextEncoder();

/** Room for one id, whose length is in one byte. */
const id = new Uint8Array(255);
