/**
 * A hash of device ids, the same in every process: FNV-1a of the UTF-8, 32 bits.
 *
 * @module
 */
import { fnv1a } from "../../runtime/fnv.ts";
import type { DeviceDelta } from "../packets.ts";

/** That of the id `ids[start, end)`. */
export function idHash(ids: Uint8Array, start: number, end: number): number {
  const hash = fnv1a(ids, start, end);
  // The low bits of FNV alone are too much alike.
  return (hash ^ hash >>> 15) >>> 0;
}

const utf8 = new TextEncoder(), scratch = new Uint8Array(512);

/** That of a text. */
export function hashOfId(deviceId: string): number {
  const bytes = utf8.encode(deviceId);
  return idHash(bytes, 0, bytes.length);
}

/** That of a delta's device. */
export function hashOfDelta(delta: DeviceDelta): number {
  const { bytes } = delta;
  if (bytes === undefined) return hashOfId(delta.deviceId);
  bytes.writeId(scratch, 0);
  return idHash(scratch, 0, bytes.idBytes);
}
