/**
 * Which shard has what.
 *
 * @module
 */

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
    if (code > 127) return shardOfBytes(utf8.encode(name), shards);
    hash = Math.imul(hash ^ code, FNV_PRIME);
  }
  return (hash >>> 0) % shards;
}

function shardOfBytes(bytes: Uint8Array, shards: number): number {
  let hash = FNV_OFFSET;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, FNV_PRIME);
  return (hash >>> 0) % shards;
}

const FNV_OFFSET = 0x811c_9dc5, FNV_PRIME = 0x0100_0193;

const utf8 = new TextEncoder();
