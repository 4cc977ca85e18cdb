/**
 * Encodes what the scripts unpack and decodes what they write, by the tables of `layout.ts`.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { DeviceSummary } from "../devices.ts";
import type { DeviceEvent } from "../events.ts";
import type { DeviceDelta } from "../packets.ts";
import { changesHead, changesKinds, type DeviceRecord, recordLayout, versionHead } from "./layout.ts";

/** Arguments of `apply.lua`: ids, packets, timestamps and payloads of the devices, one argument each. */
export function packDevices(devices: readonly DeviceDelta[]): Buffer[] {
  return [
    packIds(devices),
    packDoubles(devices, ({ packets }) => packets),
    packDoubles(devices, ({ timestampMs }) => timestampMs),
    packPayloads(devices),
  ];
}

function packIds(devices: readonly DeviceDelta[]): Buffer {
  let maxBytes = 0;
  for (const device of devices) {
    // A UTF-16 unit is at most three bytes of UTF-8.
    maxBytes += 1 + (device.bytes === undefined ? 3 * device.deviceId.length : device.bytes.idBytes);
  }
  const packed = Buffer.allocUnsafe(maxBytes);
  let end = 0;
  for (const device of devices) {
    const { bytes } = device;
    bytes?.writeId(packed, end + 1);
    const length = bytes === undefined ? writeText(packed, end + 1, device.deviceId) : bytes.idBytes;
    packed[end] = length;
    end += 1 + length;
  }
  return packed.subarray(0, end);
}

/** Of a count in a full part of an entry, and of the numbers of a batch. */
const DOUBLE_BYTES = 8;

function packDoubles(devices: readonly DeviceDelta[], valueOf: (device: DeviceDelta) => number): Buffer {
  const packed = Buffer.allocUnsafe(DOUBLE_BYTES * devices.length);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  for (let i = 0; i < devices.length; i++) view.setFloat64(DOUBLE_BYTES * i, valueOf(devices[i]!));
  return packed;
}

function packPayloads(devices: readonly DeviceDelta[]): Buffer {
  let length = 0;
  for (const device of devices) length += 4 + (device.bytes?.payloadBytes ?? device.payload.length);
  const packed = Buffer.allocUnsafe(length);
  const view = new DataView(packed.buffer, packed.byteOffset, length);
  let end = 0;
  for (const device of devices) {
    const { bytes } = device;
    const length = bytes?.payloadBytes ?? device.payload.length;
    view.setUint32(end, length);
    if (bytes === undefined) packed.set(device.payload, end + 4);
    else bytes.writePayload(packed, end + 4);
    end += 4 + length;
  }
  return packed;
}

const utf8 = new TextEncoder();

/** Writes UTF-8 and returns its length. A loop is several times faster for short ASCII, the usual case. */
function writeText(target: Uint8Array, start: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return utf8.encodeInto(text, target.subarray(start)).written;
    target[start + i] = unit;
  }
  return text.length;
}

/** Reads the record that begins at `start`. A device that only another program counted has none: its times are 0. */
export function readRecord(record: Buffer | null, start = 0): DeviceRecord {
  if (record === null) {
    return { firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true, minutePackets: 0, hourPackets: 0 };
  }
  const { offsets } = recordLayout;
  return {
    firstSeenMs: record.readDoubleBE(start + offsets.firstSeenMs),
    lastSeenMs: record.readDoubleBE(start + offsets.lastSeenMs),
    timestampMs: record.readDoubleBE(start + offsets.timestampMs),
    minutePackets: record.readDoubleBE(start + offsets.minutePackets),
    hourPackets: record.readDoubleBE(start + offsets.hourPackets),
    online: record[start + offsets.online] === 1,
  };
}

/** A device's payload: its value in the hash of payloads, if there is one, or else what follows its record. */
export function readPayload(record: Buffer | null, long: Buffer | null): Uint8Array {
  return Uint8Array.from(long ?? record?.subarray(recordLayout.bytes) ?? []);
}

/**
 * Summaries of the devices that have a count; `counts` and `records` are in the order of `deviceIds`. `onForeign`
 * receives values of other programs that are no counts; their devices are left out.
 */
export function readSummaries(
  deviceIds: readonly string[],
  counts: readonly (Buffer | null)[],
  records: readonly (Buffer | null)[],
  onForeign: (deviceId: string, value: string) => void,
): DeviceSummary[] {
  return deviceIds.flatMap((deviceId, i) => {
    const value = counts[i]!;
    if (value === null) return [];
    const count = readCount(value);
    if (count === undefined) {
      onForeign(deviceId, value.toString());
      return [];
    }
    const { firstSeenMs, lastSeenMs, timestampMs, online } = readRecord(records[i]!);
    return [{ deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online }];
  });
}

/** A whole number from 0 to 2^53 - 1 in plain decimal; undefined if it is anything else. */
export function readCount(value: Buffer): number | undefined {
  for (const byte of value) if (byte < 0x30 || byte > 0x39) return undefined;
  const count = Number(value.toString("latin1"));
  return value.length > 0 && Number.isSafeInteger(count) ? count : undefined;
}

/** Reads one entry of the list of changes; what it has of a device replaces what earlier entries had. */
export function readChanges(entry: Buffer, devices: Map<string, DeviceSummary | undefined>): void {
  for (let at = 0; at < entry.length;) {
    const length = entry.readUInt16BE(at + changesHead.offsets.devices);
    const kind = entry[at + changesHead.offsets.kind]!;
    at += kind === changesKinds.version ? versionHead.bytes : changesHead.bytes;
    const deviceIds: string[] = [];
    while (deviceIds.length < length) deviceIds.push(entry.toString("utf8", at + 1, at += 1 + entry[at]!));
    if (kind !== changesKinds.full) {
      for (const deviceId of deviceIds) devices.set(deviceId, undefined);
      continue;
    }
    const recordsAt = at + DOUBLE_BYTES * length;
    for (const [i, deviceId] of deviceIds.entries()) {
      const count = entry.readDoubleBE(at + DOUBLE_BYTES * i);
      const record = readRecord(entry, recordsAt + recordLayout.bytes * i);
      const { firstSeenMs, lastSeenMs, timestampMs, online } = record;
      devices.set(deviceId, { deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online });
    }
    at = recordsAt + recordLayout.bytes * length;
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
