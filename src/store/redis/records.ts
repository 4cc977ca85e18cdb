/**
 * Decodes what the scripts write, by the tables of `layout.ts`.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { DeviceSummary } from "../devices.ts";
import type { DeviceEvent } from "../events.ts";
import { changesHead, changesKinds, type DeviceRecord, recordLayout, versionHead } from "./layout.ts";

/** Of a count in a full part of an entry. */
const DOUBLE_BYTES = 8;

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
