/**
 * The bytes that go to Redis and come back: what `apply.lua` unpacks, and the device records it writes.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { DeviceDelta, DeviceState } from "./store.ts";

/** What `apply.lua` unpacks, device after device: see DEVICE there. */
export function packDevices(devices: readonly DeviceDelta[]): Buffer {
  let maxBytes = 0;
  // A UTF-16 unit is at most three bytes of UTF-8.
  for (const { deviceId, payload } of devices) maxBytes += 42 + 3 * deviceId.length + payload.length;
  const packed = Buffer.allocUnsafe(maxBytes);
  const view = new DataView(packed.buffer, packed.byteOffset, maxBytes);
  let end = 0;
  for (const { deviceId, packets, timestampMs, payload } of devices) {
    const idBytes = writeText(packed, end + 2, deviceId);
    view.setUint16(end, idBytes);
    end += 2 + idBytes;
    view.setFloat64(end, packets);
    view.setFloat64(end + 8, timestampMs);
    const timestampBytes = writeText(packed, end + 20, `${timestampMs} `);
    view.setUint32(end + 16, timestampBytes + payload.length);
    end += 20 + timestampBytes;
    packed.set(payload, end);
    end += payload.length;
  }
  return packed.subarray(0, end);
}

const utf8 = new TextEncoder();

/** Writes UTF-8 and returns its length. Short ASCII, the usual case, is several times faster by hand. */
function writeText(target: Uint8Array, start: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return utf8.encodeInto(text, target.subarray(start)).written;
    target[start + i] = unit;
  }
  return text.length;
}

/**
 * The record of a device. One that was only ever counted by another program has none: its times are 0
 * and its payload is empty.
 */
export function readRecord(record: Buffer | null): Omit<DeviceState, "deviceId" | "count"> {
  if (record === null) {
    return { firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true, payload: new Uint8Array() };
  }
  const space1 = record.indexOf(" ");
  const space2 = record.indexOf(" ", space1 + 1);
  const space3 = record.indexOf(" ", space2 + 1);
  return {
    firstSeenMs: Number(record.toString("latin1", 0, space1)),
    lastSeenMs: Number(record.toString("latin1", space1 + 1, space2)),
    timestampMs: Number(record.toString("latin1", space2 + 1, space3)),
    online: true,
    payload: Uint8Array.from(record.subarray(space3 + 1)),
  };
}
