/**
 * What a power cut or a bad disk does to the file of a gateway that is not running, and what is lost by it.
 *
 * @module
 */
import type { Random } from "../support/random.ts";

/** What was done to a file. */
export interface JournalDamage {
  readonly kind: JournalDamageKind;
  /** Of the packets that are not settled by what is left, those whose record is broken; there may be none. */
  readonly lost: IndexRange;
  /** What is left must show packets up to this index. */
  readonly end: number;
}

/** Packets with the indexes `from`, inclusive, to `to`, exclusive. */
export interface IndexRange {
  readonly from: number;
  readonly to: number;
}

/** How a file is damaged. */
export type JournalDamageKind = "cut short" | "zeros at the end" | "one flipped byte";

/** Record kinds, and where things are in a record; see `journal_format.ts`. */
const SESSION = 1, PACKETS = 2;
const MARKER = 0xf14a726e, MAGIC_BYTES = 16, HEAD_BYTES = 33;

interface FileRecord extends IndexRange {
  readonly kind: number;
  /** Where it begins and ends in the file. */
  readonly start: number;
  readonly end: number;
}

/** Bytes that a power cut takes, at most, and zeros it may add. */
const MAX_CUT_BYTES = 3000, MAX_ZEROS = 5000;

/** Damages `file`; undefined: it has nothing to lose. The record that names the session stays. */
export async function damageJournal(
  file: string,
  kind: JournalDamageKind,
  random: Random,
): Promise<JournalDamage | undefined> {
  const bytes = await Deno.readFile(file);
  const records = recordsOf(bytes);
  const [first] = records;
  if (first?.kind !== SESSION || records.length === 1) return undefined;
  if (kind === "one flipped byte") return await flipByte(file, bytes, records, random);
  const last = records.at(-1)!;
  const cutAt = random.int(Math.max(first.end, last.end - MAX_CUT_BYTES), last.end - 1);
  const addsZeros = kind === "zeros at the end";
  const zeros = new Uint8Array(bytes.length + random.int(0, MAX_ZEROS));
  zeros.set(bytes.subarray(0, cutAt));
  await Deno.writeFile(file, addsZeros ? zeros : bytes.subarray(0, cutAt));
  // What was zeros before is still there.
  const kept = records.filter(({ start, end }) =>
    end <= cutAt || addsZeros && bytes.subarray(Math.max(start, cutAt), end).every((byte) => byte === 0)
  );
  // A record whose head is left, with zeros for a body, shows what it had.
  const torn = records.find((record) => record.start + HEAD_BYTES <= cutAt && !kept.includes(record));
  const end = endOf(kept);
  const shows = addsZeros && torn?.kind === PACKETS;
  return { kind, lost: shows ? unsettled(torn, kept) : { from: end, to: end }, end };
}

async function flipByte(
  file: string,
  bytes: Uint8Array<ArrayBuffer>,
  records: readonly FileRecord[],
  random: Random,
): Promise<JournalDamage> {
  const sessions = records.filter(({ kind }) => kind === SESSION);
  const at = sessions.length > 1
    ? random.int(0, bytes.length - 1)
    : random.int(sessions[0]!.end, bytes.length - 1);
  bytes[at]! ^= 1 << random.int(0, 7);
  await Deno.writeFile(file, bytes);
  const hit = records.find(({ start, end }) => at >= start && at < end);
  const others = records.filter((record) => record !== hit);
  if (hit?.kind !== PACKETS) {
    return { kind: "one flipped byte", lost: { from: 0, to: 0 }, end: endOf(records) };
  }
  return { kind: "one flipped byte", lost: unsettled(hit, others), end: endOf(others) };
}

/** Those of the packets of `record` that are not settled by what the records `left` state. */
function unsettled({ from, to }: IndexRange, left: readonly FileRecord[]): IndexRange {
  const settled = left.reduce((max, { kind, from }) => kind === PACKETS ? max : Math.max(max, from), 0);
  return { from: Math.min(Math.max(from, settled), to), to };
}

function endOf(records: readonly FileRecord[]): number {
  return records.reduce((end, { to }) => Math.max(end, to), 0);
}

function recordsOf(bytes: Uint8Array): FileRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: FileRecord[] = [];
  for (let at = MAGIC_BYTES; at + HEAD_BYTES <= bytes.length;) {
    if (view.getUint32(at) !== MARKER) throw new Error(`a gateway's file has no record at byte ${at}`);
    const from = Number(view.getBigUint64(at + 13)), end = at + HEAD_BYTES + view.getUint32(at + 9);
    records.push({ kind: bytes[at + 8]!, start: at, end, from, to: from + view.getUint32(at + 21) });
    at = end;
  }
  return records;
}
