/**
 * Reads journals of version 1, which `journal_format.ts` describes, damaged or not.
 *
 * @module
 */
import { crc32 } from "node:zlib";

import { type Found, nothingFound, packetsIn, RecordKind } from "./journal_format.ts";

/** First bytes of such a journal. */
export const MAGIC_1: Uint8Array<ArrayBuffer> = new TextEncoder().encode("tally journal 1\n");

const HEAD_BYTES = 8, INDEX_BYTES = 9;

/** Whether the record that must be the first of a journal is there. */
export function hasFirstRecord1(bytes: Uint8Array): boolean {
  return record1(bytes, MAGIC_1.length)?.kind === RecordKind.SESSION;
}

/** Scans a file. */
export function scan1(bytes: Uint8Array): Found {
  const found = nothingFound(bytes);
  let lastEnd = MAGIC_1.length, isExplained = true;
  for (let at = lastEnd; at < bytes.length;) {
    const record = record1(bytes, at);
    if (record === undefined) {
      at++;
      continue;
    }
    if (lastEnd < at) {
      found.damaged.push([lastEnd, at]);
      isExplained = false;
    }
    if (record.kind === RecordKind.SESSION) found.session ??= record.session;
    else if (record.kind === RecordKind.SETTLED) {
      found.settled = Math.max(found.settled ?? 0, record.first);
      found.end = Math.max(found.end, record.first);
    } else {
      found.packets.push(record);
      // As in version 2: a gap explains the damage before it.
      if (record.first < found.end || (record.first === found.end && !isExplained)) {
        found.isUnexplained = true;
      }
      isExplained = true;
      found.end = Math.max(found.end, record.first + record.packets);
    }
    at = lastEnd = record.end;
  }
  const rest = bytes.subarray(lastEnd);
  const length = rest.length < HEAD_BYTES
    ? Infinity
    : new DataView(rest.buffer, rest.byteOffset).getUint32(0);
  const cutShort = rest.length <= HEAD_BYTES ||
    (length > rest.length - HEAD_BYTES && RecordKind[rest[HEAD_BYTES]!] !== undefined);
  if (cutShort || rest.every((byte) => byte === 0)) found.tornAt = lastEnd;
  else {
    found.damaged.push([lastEnd, bytes.length]);
    isExplained = false;
  }
  found.isUnexplained ||= !isExplained;
  return found;
}

/** The record of version 1 at `at`, if there is one. */
function record1(bytes: Uint8Array, at: number) {
  if (at + HEAD_BYTES >= bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = view.getUint32(at), start = at + HEAD_BYTES, end = start + length;
  const kind = bytes[start]!;
  if (length === 0 || end > bytes.length || RecordKind[kind] === undefined) return undefined;
  // Before the checksum, which takes longer and is tried at every byte of a damaged part.
  if (kind === RecordKind.SESSION ? length > 129 : length < INDEX_BYTES) return undefined;
  if (kind === RecordKind.SETTLED && length !== INDEX_BYTES) return undefined;
  if (crc32(bytes.subarray(start, end)) !== view.getUint32(at + 4)) return undefined;
  if (kind === RecordKind.SESSION) {
    const session = new TextDecoder().decode(bytes.subarray(start + 1, end));
    return { kind, session, first: 0, packets: 0, bytes: new Uint8Array(0), end } as const;
  }
  const content = bytes.subarray(start + INDEX_BYTES, end);
  const packets = kind === RecordKind.PACKETS ? packetsIn(content) : 0;
  if (packets === undefined) return undefined;
  const first = Number(view.getBigUint64(start + 1));
  return { kind, session: undefined, first, packets, bytes: content, end };
}
