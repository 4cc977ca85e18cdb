/**
 * The bytes of a journal: records that are found again after damage.
 *
 * The file is `tally journal 2\n` and then records, each a head and a body; numbers are big-endian:
 *
 *    0  4  marker F1 4A 72 6E
 *    4  4  the file's salt, a random number: bytes of another file, or within a payload, are no records
 *    8  1  kind
 *    9  4  length of the body
 *   13  8  index in the session
 *   21  4  packets
 *   25  4  CRC-32 of the body
 *   29  4  CRC-32 of the 29 bytes before
 *
 * Kinds:
 *
 *   1  session  body: the session's id; index and packets as below. Repeated every {@linkcode SESSION_INTERVAL_BYTES}.
 *   2  packets  body: a `PacketBatch` of so many packets, whose first has the index
 *   4  claim    body: the `telemetry-claim` of the call under which the latest Ack came; index and packets as below
 *   3  settled  no body; the packets below the index are settled, and the file has so many from there on
 *
 * A reader that finds no record where one should be searches for the next marker. The indexes of the remaining
 * records show which packets are missing.
 *
 * Version 1 had neither marker nor head: four bytes of the body's length and four of its CRC-32, then the
 * body: its kind, for the kinds 2 and 3 eight bytes of index, and the content. `journal_version_1.ts` reads it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";

import { countPackets } from "./packet_buffer.ts";

/** First bytes of a journal. */
export const MAGIC: Uint8Array<ArrayBuffer> = new TextEncoder().encode("tally journal 2\n");

const MARKER = Buffer.from([0xf1, 0x4a, 0x72, 0x6e]);
const HEAD_BYTES = 33;

/** What a record is; see the module. */
export enum RecordKind {
  /** Names the session. */
  SESSION = 1,
  /** Has packets. */
  PACKETS = 2,
  /** Has the index below which packets are settled. */
  SETTLED = 3,
  /** Has the text of a claim; to a version without it, the same as SETTLED. */
  CLAIM = 4,
}

/** Bytes between two records with the session's id, so that only loss of the whole file loses it: a disk's block. */
export const SESSION_INTERVAL_BYTES = 4096;

/** Packets whose indexes begin at `first`. */
export interface JournalBatch {
  /** Index of the first. */
  readonly first: number;
  /** A `PacketBatch`. */
  readonly bytes: Uint8Array;
}

/** Encodes a record. */
export function encodeRecord(
  salt: number,
  kind: RecordKind,
  index: number,
  packets: number,
  body: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEAD_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(MARKER);
  view.setUint32(4, salt);
  view.setUint8(8, kind);
  view.setUint32(9, body.length);
  view.setBigUint64(13, BigInt(index));
  view.setUint32(21, packets);
  view.setUint32(25, crc32(body));
  view.setUint32(29, crc32(bytes.subarray(0, 29)));
  bytes.set(body, HEAD_BYTES);
  return bytes;
}

/** Packets that were found. */
export interface Packets extends JournalBatch {
  /** How many. */
  readonly packets: number;
}

/** The result of a scan of a file. */
export interface Found {
  /** As its first record names it. */
  session: string | undefined;
  /** Packets below this index are settled; undefined without such a record. */
  settled: number | undefined;
  /** As its last record of a claim has it. */
  claim: string | undefined;
  /** In the order of the file. */
  readonly packets: Packets[];
  /** Packets below this index were in the file. */
  end: number;
  /** Bytes that are no records; the last part may reach the end of the file. */
  readonly damaged: [number, number][];
  /** Where the last record begins, if it is cut short. */
  tornAt: number;
  /** There may have been packets that no index shows. */
  isUnexplained: boolean;
  /** Version 1 has none. */
  salt: number | undefined;
}

/** The result before the scan. */
export function nothingFound(bytes: Uint8Array): Found {
  return {
    session: undefined,
    settled: undefined,
    claim: undefined,
    packets: [],
    end: 0,
    damaged: [],
    tornAt: bytes.length,
    isUnexplained: false,
    salt: undefined,
  };
}

interface Head {
  readonly salt: number;
  readonly kind: number;
  readonly index: number;
  readonly packets: number;
  readonly bodyCrc: number;
  readonly bodyStart: number;
  /** End offset of the record; it may exceed the file. */
  readonly end: number;
}

function readHead(bytes: Uint8Array, view: DataView, at: number): Head | undefined {
  if (at + HEAD_BYTES > bytes.length || MARKER.some((byte, index) => bytes[at + index] !== byte)) return;
  if (crc32(bytes.subarray(at, at + 29)) !== view.getUint32(at + 29)) return;
  return {
    salt: view.getUint32(at + 4),
    kind: bytes[at + 8]!,
    index: Number(view.getBigUint64(at + 13)),
    packets: view.getUint32(at + 21),
    bodyCrc: view.getUint32(at + 25),
    bodyStart: at + HEAD_BYTES,
    end: at + HEAD_BYTES + view.getUint32(at + 9),
  };
}

/** Whether the checksum of the body is right. */
function isWhole(bytes: Uint8Array, { kind, packets, bodyCrc, bodyStart, end }: Head): boolean {
  if (end > bytes.length) return false;
  const body = bytes.subarray(bodyStart, end);
  return crc32(body) === bodyCrc && (kind !== RecordKind.PACKETS || packetsIn(body) === packets);
}

/** Scans a file of version 2. */
export function scan(bytes: Uint8Array): Found {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = nothingFound(bytes);
  found.salt = findSalt(bytes, view);
  let at = startsWith(bytes, MAGIC) ? MAGIC.length : 0, lastEnd = at;
  const broken: Head[] = [];
  while (at < bytes.length) {
    const head = readHead(bytes, view, at);
    const isOwn = head !== undefined && head.salt === found.salt;
    if (isOwn && isWhole(bytes, head)) {
      const known = followBroken(broken, lastEnd);
      if (lastEnd < at) found.damaged.push([lastEnd, at]);
      addRecord(found, head, bytes, at === MAGIC.length || known.end === at, known.packetsEnd);
      at = lastEnd = head.end;
      continue;
    }
    if (isOwn) broken.push(head);
    const next = buffer.indexOf(MARKER, at + 1);
    at = next < 0 ? bytes.length : next;
  }
  endOfScan(found, bytes, lastEnd, broken);
  return found;
}

/** Where records end whose heads alone can be read, one after the other from `start` on, and the index after their packets. */
function followBroken(broken: readonly Head[], start: number): { end: number; packetsEnd: number } {
  let end = start, packetsEnd = 0;
  for (const head of broken) {
    if (head.bodyStart - HEAD_BYTES !== end) continue;
    end = head.end;
    packetsEnd = Math.max(packetsEnd, head.index + head.packets);
  }
  return { end, packetsEnd };
}

/** Classifies the bytes after the last record, at `lastEnd`: a truncated write, or damage. */
function endOfScan(found: Found, bytes: Uint8Array, lastEnd: number, broken: readonly Head[]): void {
  let explainedTo = lastEnd, tornAt: number | undefined;
  for (const { kind, index, packets, bodyStart, end } of broken) {
    const isTorn = end > bytes.length && bodyStart > lastEnd;
    if (isTorn) tornAt ??= bodyStart - HEAD_BYTES;
    else explainedTo = Math.max(explainedTo, Math.min(end, bytes.length));
    // The `send` of packets in a truncated record has not resolved.
    const counts = kind === RecordKind.PACKETS && isTorn ? 0 : packets;
    found.end = Math.max(found.end, index + counts);
  }
  if (tornAt === undefined || tornAt < explainedTo) {
    let written = bytes.length;
    while (written > explainedTo && bytes[written - 1] === 0) written--;
    const rest = bytes.subarray(explainedTo, written);
    const isTorn = rest.length < HEAD_BYTES && rest.subarray(0, MARKER.length)
      .every((byte, index) => byte === MARKER[index]);
    tornAt = isTorn ? explainedTo : bytes.length;
    if (!isTorn && explainedTo < bytes.length) found.isUnexplained = true;
  }
  found.tornAt = tornAt;
  if (lastEnd < tornAt) found.damaged.push([lastEnd, tornAt]);
}

/**
 * `isExplained`: there is no damage before the record, or that is just as long as the records whose heads can be read
 * there; their packets end at `knownEnd`.
 */
function addRecord(
  found: Found,
  head: Head,
  bytes: Uint8Array,
  isExplained: boolean,
  knownEnd: number,
): void {
  const { kind, index, packets, bodyStart, end } = head;
  // Records are appended in order: packets that were before this one and are lost show as a gap. Damage without a
  // gap, or an old record's copy, may stand where packets were, or have pushed others off the end.
  const before = kind === RecordKind.PACKETS ? index : index + packets;
  const isWithoutGap = before === Math.max(found.end, knownEnd);
  if (before < found.end || (isWithoutGap && !isExplained)) found.isUnexplained = true;
  found.end = Math.max(found.end, index + packets);
  if (kind === RecordKind.PACKETS) {
    found.packets.push({ first: index, packets, bytes: bytes.subarray(bodyStart, end) });
    return;
  }
  found.settled = Math.max(found.settled ?? 0, index);
  const text = () => new TextDecoder().decode(bytes.subarray(bodyStart, end));
  if (kind === RecordKind.SESSION) found.session ??= text();
  if (kind === RecordKind.CLAIM) found.claim = text();
}

/** The salt of the first record, or, if the start of the file is damaged, of most records. */
function findSalt(bytes: Uint8Array, view: DataView): number | undefined {
  const first = readHead(bytes, view, MAGIC.length);
  if (first !== undefined && isWhole(bytes, first)) return first.salt;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const records = new Map<number, number>();
  for (let at = buffer.indexOf(MARKER); at >= 0;) {
    const head = readHead(bytes, view, at);
    const whole = head !== undefined && isWhole(bytes, head);
    if (head !== undefined) records.set(head.salt, (records.get(head.salt) ?? 0) + 1);
    at = buffer.indexOf(MARKER, whole ? head.end : at + 1);
  }
  return [...records].sort(([, a], [, b]) => b - a)[0]?.[0];
}

/** Number of packets in a `PacketBatch`; undefined for other bytes. */
export function packetsIn(bytes: Uint8Array): number | undefined {
  try {
    return countPackets(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return undefined;
  }
}

/** Whether `bytes` begins with `prefix`. */
export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && prefix.every((byte, index) => bytes[index] === byte);
}
