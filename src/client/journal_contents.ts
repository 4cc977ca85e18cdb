/**
 * The contents of a journal: each packet once, in order, with placeholders for those that cannot be read.
 *
 * @module
 */
import { type Found, type JournalBatch, MAGIC, type Packets, scan, startsWith } from "./journal_format.ts";
import { hasFirstRecord1, MAGIC_1, scan1 } from "./journal_version_1.ts";
import { Omission, omittedPackets, packetEnd } from "./packet_buffer.ts";

/** Largest gap that is filled with placeholders; an index further ahead counts as damage. */
const MAX_GAP_PACKETS = 1 << 24;

/** Placeholders in one `PacketBatch`. */
const OMITTED_BATCH_PACKETS = 16_384;

/** The contents of a journal. */
export interface JournalContents {
  /** Undefined when no record that names it can be read: packets of an unknown session cannot be sent. */
  readonly session: string | undefined;
  /** Packets below this index are settled. */
  readonly settled: number;
  /** From `settled` on, without a gap: placeholders replace packets that cannot be read. */
  readonly batches: readonly JournalBatch[];
  /** Settled packets that are still there, without a gap up to `settled`. */
  readonly kept: readonly JournalBatch[];
  /** The claim under which the latest packets were acknowledged. */
  readonly claim: string | undefined;
  /** Packets that are not settled, of a session that is unknown. */
  readonly unknownPackets: number;
  /** Bytes that cannot be read may have held packets that no index shows. */
  readonly maybeMore: boolean;
  /** Bytes that cannot be read: from (inclusive) and to (exclusive). */
  readonly damaged: readonly (readonly [number, number])[];
  /** Length of the last record, when it was cut short, and of zeros at the end. */
  readonly tornBytes: number;
  /** The file's salt; undefined when records cannot be appended, but the file must be rewritten. */
  readonly salt: number | undefined;
}

/** Reads a journal of either version, damaged or not; undefined if the bytes are not a journal. */
export function readJournal(bytes: Uint8Array): JournalContents | undefined {
  if (startsWith(bytes, MAGIC)) return contents(bytes, scan(bytes));
  if (startsWith(bytes, MAGIC_1)) {
    const first = scan1(bytes);
    const second = first.session === undefined ? scan(bytes) : first;
    return contents(bytes, second.session === undefined ? first : second);
  }
  const found = scan(bytes);
  if (found.salt !== undefined) return contents(bytes, found);
  if (hasFirstRecord1(bytes)) return contents(bytes, scan1(bytes));
  // Nothing but zeros after the first bytes: a disk lost all that was written.
  const written = bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
  return startsWith(MAGIC, written) || startsWith(MAGIC_1, written) ? contents(bytes, found) : undefined;
}

/** Sorts the packets that were found: each once, with placeholders where some are missing. */
function contents(bytes: Uint8Array, found: Found): JournalContents {
  const { session, salt, tornAt, end } = found;
  const packets = found.packets.toSorted((a, b) => a.first - b.first);
  const first = packets[0]?.first ?? 0;
  const settled = found.settled ?? (first <= MAX_GAP_PACKETS ? 0 : first);
  let next = settled, maybeMore = session === undefined || found.isUnexplained;
  const batches: JournalBatch[] = [];
  const fillUpTo = (index: number): boolean => {
    if (index - next > MAX_GAP_PACKETS) maybeMore = true;
    if (index <= next || index - next > MAX_GAP_PACKETS) return index <= next;
    for (; next < index; next = Math.min(index, next + OMITTED_BATCH_PACKETS)) {
      const count = Math.min(index - next, OMITTED_BATCH_PACKETS);
      batches.push({ first: next, bytes: omittedPackets(count, Omission.DAMAGED_IN_FILE) });
    }
    return true;
  };
  for (const batch of packets) {
    const batchEnd = batch.first + batch.packets;
    if (batchEnd <= next || !fillUpTo(batch.first)) continue;
    let at = 0;
    for (let index = batch.first; index < next; index++) at = packetEnd(batch.bytes, at);
    batches.push({ first: next, bytes: batch.bytes.subarray(at) });
    next = batchEnd;
  }
  fillUpTo(end);
  // Without a place that is damaged, a record that is not in its place shows damage.
  const isAllDamaged = session === undefined || (maybeMore && found.damaged.length === 0);
  const isClean = found.damaged.length === 0 && !isAllDamaged;
  return {
    session,
    settled,
    batches: session === undefined ? [] : batches,
    kept: session === undefined ? [] : settledBatches(packets, settled),
    claim: found.claim,
    unknownPackets: session === undefined ? next - settled : 0,
    maybeMore,
    damaged: isAllDamaged ? [[0, bytes.length]] : found.damaged,
    tornBytes: session === undefined ? 0 : bytes.length - tornAt,
    salt: isClean ? salt : undefined,
  };
}

/** Of `packets`, sorted, those right before `settled`: each once. */
function settledBatches(packets: readonly Packets[], settled: number): JournalBatch[] {
  let batches: JournalBatch[] = [], next = 0;
  for (const batch of packets) {
    if (batch.first >= settled) break;
    const end = Math.min(batch.first + batch.packets, settled);
    if (batch.first > next) batches = [];
    const from = batches.length === 0 ? batch.first : Math.max(batch.first, next);
    if (from >= end) continue;
    batches.push({ first: from, bytes: part(batch, from, end) });
    next = end;
  }
  return next === settled ? batches : [];
}

/** The packets of `batch` with the indexes `from` (inclusive) to `to` (exclusive). */
function part({ first, bytes }: JournalBatch, from: number, to: number): Uint8Array {
  let at = 0, index = first;
  for (; index < from; index++) at = packetEnd(bytes, at);
  const start = at;
  for (; index < to; index++) at = packetEnd(bytes, at);
  return bytes.subarray(start, at);
}
