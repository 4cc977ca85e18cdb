/**
 * Entries of the packet stream as they go to the store, in one piece: for each the position of its device in the batch,
 * in 32 bits, the id, preceded by its length in one byte, and the `PacketBatch`, preceded by its length in 32 bits.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { MAX_ENTRY_BYTES } from "../packet_stream.ts";
import type { DeviceDelta } from "../packets.ts";

/** Besides the id and the packets. */
const HEAD_BYTES = 4 + 1 + 4;

/** The entries of a batch with these devices, which keep their packets. */
export function packEntries(devices: readonly DeviceDelta[]): Buffer {
  let most = 0;
  for (const delta of devices) {
    const bytes = delta.kept?.keptBytes ?? 0;
    // Two that follow each other have more than one may have.
    most += bytes + (Math.ceil(2 * bytes / MAX_ENTRY_BYTES) + 1) * (HEAD_BYTES + idBytesOf(delta));
  }
  const packed = Buffer.allocUnsafe(most);
  let at = 0;
  for (let position = 0; position < devices.length; position++) {
    at = writeEntries(devices[position]!, position, packed, at);
  }
  return packed.subarray(0, at);
}

function idBytesOf({ bytes, deviceId }: DeviceDelta): number {
  return bytes?.idBytes ?? Buffer.byteLength(deviceId);
}

/** Writes the entries of a device; returns their end. */
function writeEntries(delta: DeviceDelta, position: number, target: Buffer, at: number): number {
  const { kept, bytes } = delta;
  if (kept === undefined) return at;
  for (let packet = kept.first; packet >= 0;) {
    target.writeUInt32BE(position, at);
    at += 4;
    if (bytes === undefined) target[at] = target.write(delta.deviceId, at + 1);
    else {
      target[at] = bytes.idBytes;
      bytes.writeId(target, at + 1);
    }
    const lengthAt = at + 1 + target[at]!, start = lengthAt + 4;
    at = start;
    do {
      at = kept.write(packet, target, at);
      packet = kept.next(packet);
    } while (packet >= 0 && at - start + kept.bytesOf(packet) <= MAX_ENTRY_BYTES);
    target.writeUInt32BE(at - start, lengthAt);
  }
  return at;
}

/** Calls `onEntry` for each entry of {@linkcode packEntries}. */
export function readEntries(
  packed: Uint8Array,
  onEntry: (position: number, deviceId: string, packets: Uint8Array) => void,
): void {
  const entries = Buffer.from(packed.buffer, packed.byteOffset, packed.length);
  for (let at = 0; at < entries.length;) {
    const idEnd = at + 5 + entries[at + 4]!, start = idEnd + 4, end = start + entries.readUInt32BE(idEnd);
    onEntry(entries.readUInt32BE(at), entries.toString("utf8", at + 5, idEnd), entries.subarray(start, end));
    at = end;
  }
}
