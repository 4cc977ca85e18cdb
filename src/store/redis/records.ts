/**
 * The bytes that go to Redis and come back: what the scripts unpack and what they write.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { CurrentPeriods } from "../model/periods.ts";
import type { DeviceSummary } from "../devices.ts";
import type { DeviceEvent } from "../events.ts";
import type { DeviceDelta } from "../packets.ts";

/** What `apply.lua` unpacks: ids, packets, timestamps and payloads of the devices, each in one argument. */
export function packDevices(devices: readonly DeviceDelta[]): Buffer[] {
  return [
    packIds(devices),
    packDoubles(devices.map(({ packets }) => packets)),
    packDoubles(devices.map(({ timestampMs }) => timestampMs)),
    packPayloads(devices.map(({ payload }) => payload)),
  ];
}

function packIds(devices: readonly DeviceDelta[]): Buffer {
  let maxBytes = 0;
  // A UTF-16 unit is at most three bytes of UTF-8.
  for (const { deviceId } of devices) maxBytes += 1 + 3 * deviceId.length;
  const packed = Buffer.allocUnsafe(maxBytes);
  let end = 0;
  for (const { deviceId } of devices) {
    const bytes = writeText(packed, end + 1, deviceId);
    packed[end] = bytes;
    end += 1 + bytes;
  }
  return packed.subarray(0, end);
}

function packDoubles(values: readonly number[]): Buffer {
  const packed = Buffer.allocUnsafe(8 * values.length);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  for (const [i, value] of values.entries()) view.setFloat64(8 * i, value);
  return packed;
}

function packPayloads(payloads: readonly Uint8Array[]): Buffer {
  let bytes = 0;
  for (const payload of payloads) bytes += 4 + payload.length;
  const packed = Buffer.allocUnsafe(bytes);
  const view = new DataView(packed.buffer, packed.byteOffset, bytes);
  let end = 0;
  for (const payload of payloads) {
    view.setUint32(end, payload.length);
    packed.set(payload, end + 4);
    end += 4 + payload.length;
  }
  return packed;
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

/** Of RECORD in `prelude.lua`. */
const RECORD_BYTES = 42;

/** A device's record: RECORD of `prelude.lua`. */
export type DeviceRecord = Omit<DeviceSummary, "deviceId" | "count"> & CurrentPeriods;

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

/** A device's payload: `long`, what the hash of payloads has of it, or what stands behind its record. */
export function readPayload(record: Buffer | null, long: Buffer | null): Uint8Array {
  return Uint8Array.from(long ?? record?.subarray(RECORD_BYTES) ?? []);
}

/**
 * Summaries of devices by their ids, counts and records, which stand side by side; without those that have no
 * count. `onForeign` gets what another program wrote and is no count.
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

/** Of VERSION_HEAD in `prelude.lua`. */
const VERSION_HEAD_BYTES = 11;

/** Puts the devices of one entry of the list of changes, see `prelude.lua`, in place of what earlier ones told of them. */
export function readChanges(entry: Buffer, devices: Map<string, DeviceSummary | undefined>): void {
  for (let at = 0; at < entry.length;) {
    const length = entry.readUInt16BE(at), flag = entry[at + 2], isTold = flag === 1;
    const deviceIds: string[] = [];
    at += flag === 2 ? VERSION_HEAD_BYTES : 3;
    while (deviceIds.length < length) deviceIds.push(entry.toString("utf8", at + 1, at += 1 + entry[at]!));
    const recordsAt = at + 8 * length;
    for (const [i, deviceId] of deviceIds.entries()) {
      if (!isTold) {
        devices.set(deviceId, undefined);
        continue;
      }
      const count = entry.readDoubleBE(at + 8 * i);
      const { firstSeenMs, lastSeenMs, timestampMs, online } = readRecord(
        entry,
        recordsAt + RECORD_BYTES * i,
      );
      devices.set(deviceId, { deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online });
    }
    if (isTold) at = recordsAt + RECORD_BYTES * length;
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
