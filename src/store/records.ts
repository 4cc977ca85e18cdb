/**
 * The bytes that go to Redis and come back: what the scripts unpack and what they write.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { PeriodsGoingOn } from "./history.ts";
import type { DeviceDelta, DeviceEvent, DeviceSummary } from "./store.ts";

/** What `apply.lua` unpacks, device after device: see DEVICE there. */
export function packDevices(devices: readonly DeviceDelta[]): Buffer {
  let maxBytes = 0;
  // A UTF-16 unit is at most three bytes of UTF-8.
  for (const { deviceId, payload } of devices) maxBytes += 22 + 3 * deviceId.length + payload.length;
  const packed = Buffer.allocUnsafe(maxBytes);
  const view = new DataView(packed.buffer, packed.byteOffset, maxBytes);
  let end = 0;
  for (const { deviceId, packets, timestampMs, payload } of devices) {
    const idBytes = writeText(packed, end + 2, deviceId);
    view.setUint16(end, idBytes);
    end += 2 + idBytes;
    view.setFloat64(end, packets);
    view.setFloat64(end + 8, timestampMs);
    view.setUint32(end + 16, payload.length);
    packed.set(payload, end + 20);
    end += 20 + payload.length;
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

/** A device's record: RECORD of `feed.lua`. */
export type DeviceRecord = Omit<DeviceSummary, "deviceId" | "count"> & PeriodsGoingOn;

/** As `feed.lua` packs it. */
const RECORD_BYTES = 41;

/** Reads the record that begins at `start`. A device that was only ever counted by another program has none: its times are 0. */
export function readRecord(record: Buffer | null, start = 0): DeviceRecord {
  if (record === null) {
    return { firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true, minutePackets: 0, hourPackets: 0 };
  }
  return {
    firstSeenMs: record.readDoubleBE(start),
    lastSeenMs: record.readDoubleBE(start + 8),
    timestampMs: record.readDoubleBE(start + 16),
    minutePackets: record.readDoubleBE(start + 24),
    hourPackets: record.readDoubleBE(start + 32),
    online: record[start + 40] === 1,
  };
}

/** Summaries of devices by their ids, counts and records, which stand side by side; without those that have no count. */
export function readSummaries(
  deviceIds: readonly string[],
  counts: readonly (Buffer | null)[],
  records: readonly (Buffer | null)[],
): DeviceSummary[] {
  return deviceIds.flatMap((deviceId, i) => {
    const count = counts[i]!;
    if (count === null) return [];
    const { firstSeenMs, lastSeenMs, timestampMs, online } = readRecord(records[i]!);
    return [{ deviceId, count: Number(count), firstSeenMs, lastSeenMs, timestampMs, online }];
  });
}

/** Puts the devices of one entry of the list of changes, see `feed.lua`, in place of what earlier ones told of them. */
export function readChanges(entry: Buffer, devices: Map<string, DeviceSummary | undefined>): void {
  for (let at = 0; at < entry.length;) {
    const idEnd = at + 2 + entry[at]!, countEnd = idEnd + entry[at + 1]!;
    const deviceId = entry.toString("utf8", at + 2, idEnd);
    at = countEnd;
    let summary: DeviceSummary | undefined;
    if (countEnd > idEnd) {
      const count = Number(entry.toString("latin1", idEnd, countEnd));
      const { firstSeenMs, lastSeenMs, timestampMs, online } = readRecord(entry, countEnd);
      summary = { deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online };
      at += RECORD_BYTES;
    }
    devices.set(deviceId, summary);
  }
}

/** Reads `<id> online|offline <at> <last seen> <device id>`. */
export function readEvent(entry: string): DeviceEvent {
  const [, id, kind, atMs, lastSeenMs, deviceId] = /^(\d+) (online|offline) (\d+) (\d+) (.*)$/s.exec(entry)!;
  return {
    id: Number(id),
    kind: kind as DeviceEvent["kind"],
    deviceId: deviceId!,
    atMs: Number(atMs),
    lastSeenMs: Number(lastSeenMs),
  };
}
