/**
 * The slot of a Redis Cluster that a key belongs to.
 *
 * @module
 */

/** Slots of a cluster; each belongs to one of its masters. */
export const CLUSTER_SLOTS = 16_384;

/** CRC-16/XMODEM, the one of the cluster's specification. */
const CRC_POLYNOMIAL = 0x1021;

/** The slot of all keys with the hash tag `{tag}`, and of the key `tag` itself. ASCII. */
export function clusterSlot(tag: string): number {
  let crc = 0;
  for (let at = 0; at < tag.length; at++) {
    crc ^= tag.charCodeAt(at) << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ CRC_POLYNOMIAL : crc << 1;
    crc &= 0xffff;
  }
  return crc % CLUSTER_SLOTS;
}
