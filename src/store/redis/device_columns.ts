/**
 * Deltas of devices as the scripts unpack them, and as they are in a segment: their ids, packets, timestamps and
 * payloads, in four columns.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import type { DeviceDelta } from "../packets.ts";

/** Of a number in a column. */
const DOUBLE_BYTES = 8;

/** A column: its length for some deltas, and what writes it. */
interface Column {
  bytes(deltas: readonly DeviceDelta[]): number;
  /** Writes it from `at` on; returns its end. */
  write(deltas: readonly DeviceDelta[], target: Buffer, at: number): number;
}

/** Each id in UTF-8, preceded by its length in one byte. */
const ids: Column = {
  bytes(deltas) {
    let length = 0;
    for (const delta of deltas) length += 1 + (delta.bytes?.idBytes ?? Buffer.byteLength(delta.deviceId));
    return length;
  },
  write(deltas, target, at) {
    for (const delta of deltas) {
      const { bytes } = delta;
      const length = bytes === undefined ? target.write(delta.deviceId, at + 1) : bytes.idBytes;
      bytes?.writeId(target, at + 1);
      target[at] = length;
      at += 1 + length;
    }
    return at;
  },
};

/** A number of each delta, as a double, big-endian. */
function doubles<Delta extends DeviceDelta>(valueOf: (delta: Delta) => number): Column {
  return {
    bytes: (deltas) => DOUBLE_BYTES * deltas.length,
    write(deltas, target, at) {
      const view = new DataView(target.buffer, target.byteOffset, target.length);
      for (const delta of deltas) {
        view.setFloat64(at, valueOf(delta as Delta));
        at += DOUBLE_BYTES;
      }
      return at;
    },
  };
}

/** Each payload, preceded by its length in 32 bits. */
const payloads: Column = {
  bytes(deltas) {
    let length = 0;
    for (const delta of deltas) length += 4 + (delta.bytes?.payloadBytes ?? delta.payload.length);
    return length;
  },
  write(deltas, target, at) {
    for (const delta of deltas) {
      const { bytes } = delta, length = bytes?.payloadBytes ?? delta.payload.length;
      target.writeUInt32BE(length, at);
      if (bytes === undefined) target.set(delta.payload, at + 4);
      else bytes.writePayload(target, at + 4);
      at += 4 + length;
    }
    return at;
  },
};

const columns: readonly Column[] = [
  ids,
  doubles(({ packets }) => packets),
  doubles(({ timestampMs }) => timestampMs),
  payloads,
];

function pack(column: Column, deltas: readonly DeviceDelta[]): Buffer {
  const packed = Buffer.allocUnsafe(column.bytes(deltas));
  column.write(deltas, packed, 0);
  return packed;
}

/** Arguments of `apply.lua` and `merge.lua`: ids, packets, timestamps and payloads, one argument each. */
export function packDevices(deltas: readonly DeviceDelta[]): Buffer[] {
  return columns.map((column) => pack(column, deltas));
}

const seen = doubles<DeviceDelta & { readonly seenMs: number }>(({ seenMs }) => seenMs);

/** An argument of `merge.lua`: when the packets of each device were received last. */
export function packSeen(deltas: readonly (DeviceDelta & { readonly seenMs: number })[]): Buffer {
  return pack(seen, deltas);
}

/** Of a segment: when its packets were received, and the lengths of its columns. */
const HEAD_BYTES = DOUBLE_BYTES * (1 + columns.length);

/** One segment of a log: a head of doubles, and the columns. */
export function packSegment(deltas: readonly DeviceDelta[], receivedAtMs: number): Buffer {
  const lengths = columns.map((column) => column.bytes(deltas));
  const packed = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + length, HEAD_BYTES));
  for (const [i, value] of [receivedAtMs, ...lengths].entries()) {
    packed.writeDoubleBE(value, DOUBLE_BYTES * i);
  }
  let at = HEAD_BYTES;
  for (const column of columns) at = column.write(deltas, packed, at);
  return packed;
}

/** When the packets of a segment were received, Unix milliseconds, and what they add. */
export function readSegment(segment: Buffer): { receivedAtMs: number; deltas: DeviceDelta[] } {
  const lengths = columns.map((_, i) => segment.readDoubleBE(DOUBLE_BYTES * (1 + i)));
  let idAt = HEAD_BYTES, packetsAt = idAt + lengths[0]!, timestampAt = packetsAt + lengths[1]!;
  let payloadAt = timestampAt + lengths[2]!;
  const deltas: DeviceDelta[] = [];
  for (const end = timestampAt; packetsAt < end;) {
    const payloadBytes = segment.readUInt32BE(payloadAt);
    deltas.push({
      deviceId: segment.toString("utf8", idAt + 1, idAt += 1 + segment[idAt]!),
      packets: segment.readDoubleBE(packetsAt),
      timestampMs: segment.readDoubleBE(timestampAt),
      payload: segment.subarray(payloadAt + 4, payloadAt += 4 + payloadBytes),
    });
    packetsAt += DOUBLE_BYTES;
    timestampAt += DOUBLE_BYTES;
  }
  return { receivedAtMs: segment.readDoubleBE(0), deltas };
}
