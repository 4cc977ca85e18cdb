/**
 * What a SQLite file holds of each device: its count, and the packets in segment logs that are not merged yet. Written by the
 * documents of the tables, not with the code of `src`.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";

interface Log {
  readonly log: number;
  readonly merged: number;
  readonly merging_to: number;
}

const decoder = new TextDecoder();

/** Packets of each device. */
export function countsIn(db: DatabaseSync): Map<string, number> {
  const counts = new Map<string, number>();
  // One snapshot: merging goes on meanwhile.
  db.exec("BEGIN");
  for (const { device_id, count } of db.prepare("SELECT device_id, count FROM devices").all()) {
    counts.set(String(device_id), Number(count));
  }
  for (const log of db.prepare("SELECT log, merged, merging_to FROM segment_logs").all()) {
    addUnmerged(db, log as unknown as Log, counts);
  }
  db.exec("ROLLBACK");
  return counts;
}

/** Whether no log has packets. */
export function isAllCounted(db: DatabaseSync): boolean {
  return db.prepare("SELECT 1 FROM segment_logs").get() === undefined;
}

function addUnmerged(db: DatabaseSync, { log, merged, merging_to }: Log, counts: Map<string, number>): void {
  const done = new Set<number>();
  for (const { entries } of db.prepare("SELECT entries FROM merged_parts WHERE log = ?").all(log)) {
    const bytes = entries as Uint8Array, view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += 4) done.add(view.getUint32(at, true));
  }
  /** By the order in which the devices come first in the segments that are being merged. */
  const entries = new Map<string, number>();
  const segments = db.prepare(
    "SELECT number, deltas FROM segments WHERE log = ? AND number > ? ORDER BY number",
  );
  for (const { number, deltas } of segments.all(log, merged)) {
    for (const [deviceId, packets] of deltasOf(deltas as Uint8Array)) {
      if (Number(number) <= merging_to && !entries.has(deviceId)) entries.set(deviceId, entries.size);
      const isMerged = Number(number) <= merging_to && done.has(entries.get(deviceId)!);
      if (!isMerged) counts.set(deviceId, (counts.get(deviceId) ?? 0) + packets);
    }
  }
}

function* deltasOf(segment: Uint8Array): Generator<[deviceId: string, packets: number]> {
  let at = 0;
  const varint = () => {
    let value = 0, factor = 1;
    for (;; factor *= 0x80) {
      const byte = segment[at++];
      if (byte === undefined) throw new RangeError("a segment ends in the middle of a number");
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < segment.length) {
    const idEnd = at + 1 + segment[at]!, deviceId = decoder.decode(segment.subarray(at + 1, idEnd));
    at = idEnd;
    const packets = varint();
    at += 8; // the timestamp
    const payloadBytes = varint();
    at += payloadBytes;
    yield [deviceId, packets];
  }
}
