/**
 * Values over closed minutes and hours, as they are kept.
 *
 * To keep the least, mean and greatest of 720 hours as doubles takes 17 KB for each value. Here the periods of a block
 * (20 minutes, or the hours of a day, UTC) are kept as multiples of a step: the power of two with which the block's range
 * has at most `levels` of them. The multiples are small, and near those before them, so most take some bits. The newest
 * block, to which periods are added, has eight times the levels, because each time its range grows it is rounded again.
 *
 * What is read is within 2.5 levels of what was added: 1/100 of the range of 20 minutes, 1/25 of that of a day. A step is
 * two levels at most; half a step and an eighth are lost here, and as much again by leaving out decimals.
 *
 * @module
 */
import { MAX_VARINT_BYTES, readVarint, varintEnd, writeVarint } from "../../protocol/varint.ts";
import type { ValuePeriod } from "../values.ts";
import { VALUE_HOURS, VALUE_MINUTES } from "../values.ts";
import { BitReader, BitWriter, riceBits } from "./bits.ts";
import { HOUR_MS, MINUTE_MS } from "./periods.ts";

/** How periods of one length are kept. */
export interface BlockKind {
  /** Length of a period, milliseconds. */
  readonly periodMs: number;
  /** Periods of a block. */
  readonly periods: number;
  /** Steps into which the range of a block is divided, at most. */
  readonly levels: number;
  /** Periods that are kept at least, the current one included. */
  readonly kept: number;
}

/** Closed minutes. */
export const minuteBlocks: BlockKind = { periodMs: MINUTE_MS, periods: 20, levels: 256, kept: VALUE_MINUTES };

/** Closed hours. */
export const hourBlocks: BlockKind = { periodMs: HOUR_MS, periods: 24, levels: 64, kept: VALUE_HOURS };

/** All periods of the block have a sample; all samples of the block are one number; it is the newest. */
const FULL = 1, CONSTANT = 2, OPEN = 4;

/** The newest block has so many times the levels. */
const OPEN_LEVELS = 8;

/** The longest block: head, bitmap, exponent, Rice's three, first mean; three numbers of 11 bits for each period. */
const MAX_BLOCK_BYTES = 160;

/**
 * `blocks` with a period that follows all in it, without those that are older than is kept; `nowMs`: the time of the
 * current period.
 */
export function withPeriod(
  kind: BlockKind,
  blocks: Uint8Array,
  period: ValuePeriod,
  nowMs: number,
): Uint8Array {
  const { periodMs, periods, kept } = kind, blockMs = periodMs * periods;
  const number = Math.floor(period.startMs / blockMs);
  const oldest = Math.floor((nowMs - (kept - 1) * periodMs) / blockMs);
  const parts: Uint8Array[] = [];
  let open: ValuePeriod[] = [];
  for (const block of split(blocks)) {
    if (block.number === number) open = decodeBlock(kind, block).periods;
    // Of a clock that was set back since, blocks may be ahead.
    else if (block.number >= oldest && block.number < number) parts.push(closed(kind, block));
  }
  open = open.filter(({ startMs }) => startMs < period.startMs);
  parts.push(encodeBlock(kind, number, [...open, period], OPEN));
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** The periods of all blocks, oldest first, with no more decimals than they are exact to. */
export function readPeriods(kind: BlockKind, blocks: Uint8Array): ValuePeriod[] {
  return [...split(blocks)].flatMap((block) => {
    const { periods, step } = decodeBlock(kind, block);
    if (step === 0) return periods;
    const error = block.bytes[5]! & OPEN ? step : step * (1 / 2 + 1 / OPEN_LEVELS);
    return periods.map((period) => withoutDecimals(period, error));
  });
}

/**
 * Least and greatest become the shortest numbers from which they may have been rounded, by `error`: mostly those that the
 * device sent, for most sensors have few decimals. A mean has any, and is changed by a quarter of that at most.
 */
function withoutDecimals({ startMs, ...period }: ValuePeriod, error: number): ValuePeriod {
  const min = shortest(period.min, error), max = shortest(period.max, error);
  return { startMs, min, mean: Math.min(max, Math.max(min, shortest(period.mean, error / 4))), max };
}

/** The number with the fewest decimals that differs from `value` by `tolerance` at most. */
function shortest(value: number, tolerance: number): number {
  for (let decimals = 0, scale = 1; decimals <= MAX_DECIMALS; decimals++, scale *= 10) {
    const rounded = Math.round(value * scale) / scale;
    if (Math.abs(rounded - value) <= tolerance) return rounded;
  }
  return value;
}

/** Powers of ten up to this one are exact in a double. */
const MAX_DECIMALS = 22;

/** One block: its length after this byte, its number in four bytes, flags, and what {@linkcode encodeBlock} adds. */
interface Block {
  readonly number: number;
  readonly bytes: Uint8Array;
}

const HEAD_BYTES = 6;

function* split(blocks: Uint8Array): Generator<Block> {
  for (let at = 0; at + HEAD_BYTES <= blocks.length;) {
    const bytes = blocks.subarray(at, at += 1 + blocks[at]!);
    yield { number: viewOf(bytes).getUint32(1), bytes };
  }
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, length);
}

/** The bytes of a block to which no period is added any more. */
function closed(kind: BlockKind, block: Block): Uint8Array {
  if (!(block.bytes[5]! & OPEN)) return block.bytes;
  return encodeBlock(kind, block.number, decodeBlock(kind, block).periods, 0);
}

/** `open`: {@linkcode OPEN} or 0. */
function encodeBlock(
  kind: BlockKind,
  number: number,
  list: readonly ValuePeriod[],
  open: number,
): Uint8Array {
  const { periodMs, periods, levels } = kind;
  const bytes = new Uint8Array(MAX_BLOCK_BYTES), view = viewOf(bytes);
  const isFull = list.length === periods, first = list[0]!.mean;
  const isConstant = list.every(({ min, max }) => min === first && max === first);
  view.setUint32(1, number);
  bytes[5] = (isFull ? FULL : 0) | (isConstant ? CONSTANT : 0) | open;
  let at = HEAD_BYTES;
  if (!isFull) {
    for (const { startMs } of list) {
      const position = Math.round(startMs / periodMs) - number * periods;
      bytes[at + (position >> 3)]! |= 1 << (position & 7);
    }
    at += bitmapBytes(kind);
  }
  if (isConstant) {
    view.setFloat64(at, first);
    at += 8;
  } else at = writeSteps(open ? levels * OPEN_LEVELS : levels, list, bytes, at);
  bytes[0] = at - 1;
  return bytes.slice(0, at);
}

function bitmapBytes({ periods }: Pick<BlockKind, "periods">): number {
  return Math.ceil(periods / 8);
}

/** Writes the multiples of a step: its exponent, three times Rice's k, the first mean, and the numbers of each period. */
function writeSteps(
  levels: number,
  list: readonly ValuePeriod[],
  bytes: Uint8Array,
  at: number,
): number {
  const exponent = stepExponent(list, levels), step = 2 ** exponent;
  const means = list.map(({ mean }) => Math.round(mean / step));
  const below = list.map(({ min }, i) => Math.max(0, means[i]! - Math.round(min / step)));
  const above = list.map(({ max }, i) => Math.max(0, Math.round(max / step) - means[i]!));
  const moves = means.map((mean, i) => zigzag(mean - (means[i - 1] ?? mean)));
  const bits = [moves, below, above].map(riceBits) as [number, number, number];
  viewOf(bytes).setInt16(at, exponent);
  viewOf(bytes).setUint16(at + 2, bits[0] << 8 | bits[1] << 4 | bits[2]);
  at = writeVarint(bytes, at + 4, zigzag(means[0]!));
  const writer = new BitWriter(bytes, at);
  for (let i = 0; i < list.length; i++) {
    writer.rice(moves[i]!, bits[0]);
    writer.rice(below[i]!, bits[1]);
    writer.rice(above[i]!, bits[2]);
  }
  return writer.end;
}

/** `step`: the numbers are multiples of it; 0: they are exact. */
function decodeBlock(
  { periodMs, periods }: BlockKind,
  { number, bytes }: Block,
): { readonly periods: ValuePeriod[]; readonly step: number } {
  const flags = bytes[5]!, starts: number[] = [];
  for (let position = 0; position < periods; position++) {
    const isThere = flags & FULL || bytes[HEAD_BYTES + (position >> 3)]! >> (position & 7) & 1;
    if (isThere) starts.push((number * periods + position) * periodMs);
  }
  const at = HEAD_BYTES + (flags & FULL ? 0 : bitmapBytes({ periods }));
  if (flags & CONSTANT) {
    const value = viewOf(bytes).getFloat64(at);
    return { periods: starts.map((startMs) => ({ startMs, min: value, mean: value, max: value })), step: 0 };
  }
  const step = 2 ** viewOf(bytes).getInt16(at), bits = viewOf(bytes).getUint16(at + 2);
  const end = varintEnd(bytes, at + 4) ?? bytes.length;
  let mean = unzigzag(readVarint(bytes, at + 4, end));
  const reader = new BitReader(bytes, end);
  const decoded = starts.map((startMs) => {
    mean += unzigzag(reader.rice(bits >> 8));
    const min = mean - reader.rice(bits >> 4 & 15), max = mean + reader.rice(bits & 15);
    return { startMs, min: min * step, mean: mean * step, max: max * step };
  });
  return { periods: decoded, step };
}

/** The exponent of the step: the range has at most `levels` of them, and each multiple is a whole number in a double. */
function stepExponent(list: readonly ValuePeriod[], levels: number): number {
  let least = Infinity, greatest = -Infinity;
  for (const { min, max } of list) {
    if (min < least) least = min;
    if (max > greatest) greatest = max;
  }
  // The range itself may be no finite number.
  const ofRange = Math.ceil(Math.log2(greatest / levels - least / levels));
  const ofSize = Math.ceil(Math.log2(Math.max(Math.abs(least), Math.abs(greatest)))) - MAX_MULTIPLE_BITS;
  return Math.max(ofRange, ofSize, -1074);
}

/** Zigzag doubles it. */
const MAX_MULTIPLE_BITS = 8 * MAX_VARINT_BYTES - 8 - 8;

function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
