/**
 * Which shard has what.
 *
 * @module
 */
import type { DeviceDelta } from "../packets.ts";

/**
 * The shard, from 0 on, of a device or session, by its id or name: FNV-1a of 32 bits over the UTF-8, modulo the number
 * of shards. It must never change: where a device is stored follows from it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9923 FNV
 */
export function shardOf(name: string, shards: number): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code > 127) {
      const bytes = utf8.encode(name);
      return shardOfBytes(bytes, bytes.length, shards);
    }
    hash = Math.imul(hash ^ code, FNV_PRIME);
  }
  return (hash >>> 0) % shards;
}

/** The shard of a delta's device: of its bytes, where it has them, as the id would first have to be made of them. */
export function shardOfDelta(delta: Pick<DeviceDelta, "deviceId" | "bytes">, shards: number): number {
  const { bytes } = delta;
  if (bytes === undefined) return shardOf(delta.deviceId, shards);
  bytes.writeId(id, 0);
  return shardOfBytes(id, bytes.idBytes, shards);
}

function shardOfBytes(bytes: Uint8Array, length: number, shards: number): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ bytes[i]!, FNV_PRIME);
  return (hash >>> 0) % shards;
}

const FNV_OFFSET = 0x811c_9dc5, FNV_PRIME = 0x0100_0193;

const utf8 = new TextEncoder();

/** Room for one id, whose length is in one byte. */
const id = new Uint8Array(255);
