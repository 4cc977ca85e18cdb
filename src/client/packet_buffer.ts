/**
 * The packets of a client that are not known to be settled, encoded: any run of them is a `PacketBatch` of the
 * proto, so that sending them again, or writing them to a file, encodes nothing again.
 *
 * @module
 */
import { readVarint, varintEnd } from "../protocol/varint.ts";
import { BATCH_PACKETS, type EncodedPacket } from "./encoded_packet.ts";

/** Bytes of a segment: what one message carries, unless a single packet is larger. */
const SEGMENT_BYTES = 64 * 1024;

/**
 * A field number that `Packet` of the proto does not use: why a packet is left out. See
 * {@linkcode Omission}.
 */
const OMISSION = 15 << 3;

/**
 * Why a packet is left out of the session. Its index must be settled all the same, or no later packet could
 * be: a placeholder is sent, an entry without a device_id, which Tally rejects.
 */
export enum Omission {
  /** The file that held it was damaged. */
  DAMAGED_IN_FILE = 1,
  /** It is larger than the messages that the server accepts. */
  MESSAGE_TOO_LARGE = 2,
}

/** Bytes of a placeholder. */
const OMITTED_BYTES = 4;

/** Packets left out for one reason: those with the indexes `from` (inclusive) to `to` (exclusive). */
export interface OmittedRange {
  /** Index of the first. */
  readonly from: number;
  /** Index after the last. */
  readonly to: number;
  /** Why. */
  readonly reason: Omission;
}

/** Encoded packets; append-only: bytes below `filled` never change. */
interface Segment {
  readonly bytes: Uint8Array<ArrayBuffer>;
  filled: number;
  /** Index of the packet after the last. */
  end: number;
  next: Segment | undefined;
}

/** A place between two packets. */
interface Place {
  segment: Segment;
  offset: number;
  /** Of the packet after it. */
  index: number;
}

/**
 * Packets in the order they were added, with consecutive indexes: settled ones that are kept, from `oldest` to `start`,
 * and pending ones, from `start` to `end`.
 */
export class PacketBuffer {
  #oldest: Place;
  #start: Place;
  #end: number;
  #keptBytes = 0;
  #bytes = 0;
  #tail: Segment;
  #omitted: OmittedRange[] = [];

  /** The first packet will be number `start`. */
  constructor(start = 0) {
    this.#end = start;
    this.#tail = { bytes: new Uint8Array(0), filled: 0, end: start, next: undefined };
    this.#oldest = { segment: this.#tail, offset: 0, index: start };
    this.#start = { ...this.#oldest };
  }

  /** Index of the oldest packet kept; {@linkcode end} if there is none. */
  get oldest(): number {
    return this.#oldest.index;
  }

  /** Index of the oldest pending packet; {@linkcode end} if there is none. */
  get start(): number {
    return this.#start.index;
  }

  /** Index the next packet will have. */
  get end(): number {
    return this.#end;
  }

  /** Pending packets. */
  get packets(): number {
    return this.#end - this.start;
  }

  /** Encoded size of the pending packets. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Encoded size of the settled packets that are kept. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Adds a packet, encoded. */
  add(packet: EncodedPacket): void {
    const segment = this.#room(packet.size);
    segment.filled = packet.write(segment.bytes, segment.filled);
    this.#added(1, packet.size);
  }

  /** Packets among those kept and pending that were left out before they were added, oldest first. */
  get omitted(): readonly OmittedRange[] {
    return this.#omitted;
  }

  /** Adds packets that {@linkcode Cursor.take} returned before; throws a RangeError for other bytes. */
  addBatch(bytes: Uint8Array): void {
    const packets = countPackets(bytes, (index, reason) => {
      const last = this.#omitted.at(-1), from = this.#end + index;
      if (last?.to === from && last.reason === reason) this.#omitted.splice(-1, 1, { ...last, to: from + 1 });
      else this.#omitted.push({ from, to: from + 1, reason });
    });
    const segment = this.#room(bytes.length);
    segment.bytes.set(bytes, segment.filled);
    segment.filled += bytes.length;
    this.#added(packets, bytes.length);
  }

  /** The packets before `index`, at most all, are settled; they are kept. */
  settle(index: number): void {
    const bytes = advance(this.#start, Math.min(index, this.#end));
    this.#bytes -= bytes;
    this.#keptBytes += bytes;
  }

  /** Discards settled packets: those before `index`, and so many that no more than `maxBytes` are kept. */
  discard(index: number, maxBytes: number): void {
    if (maxBytes === 0 || index >= this.start) {
      this.#oldest = { ...this.#start };
      this.#keptBytes = 0;
    } else {
      this.#keptBytes -= advance(this.#oldest, index);
      while (this.#keptBytes > maxBytes) this.#keptBytes -= advance(this.#oldest, this.oldest + 1);
    }
    if (this.#omitted.length > 0) this.#omitted = overlap(this.#omitted, this.oldest, Infinity);
  }

  /** The settled packets from `index` on, all of which must be kept, are pending again; returns how many. */
  reopen(index: number): number {
    const packets = this.start - index;
    if (packets <= 0) return 0;
    const all = this.#keptBytes + this.#bytes;
    this.#start = { ...this.#oldest };
    this.#keptBytes = advance(this.#start, index);
    this.#bytes = all - this.#keptBytes;
    return packets;
  }

  /** A cursor at the oldest pending packet. */
  cursor(): Cursor {
    return new Cursor(this.#start.segment, this.#start.offset, this.start);
  }

  /** A cursor at the oldest packet kept. */
  keptCursor(): Cursor {
    return new Cursor(this.#oldest.segment, this.#oldest.offset, this.oldest);
  }

  #room(size: number): Segment {
    if (this.#tail.bytes.length - this.#tail.filled < size) {
      const bytes = new Uint8Array(Math.max(size, SEGMENT_BYTES));
      this.#tail.next = { bytes, filled: 0, end: this.#end, next: undefined };
      this.#tail = this.#tail.next;
    }
    return this.#tail;
  }

  #added(packets: number, bytes: number): void {
    this.#end += packets;
    this.#tail.end = this.#end;
    this.#bytes += bytes;
  }
}

/** Moves `place` up to `index`; returns the bytes passed. */
function advance(place: Place, index: number): number {
  let bytes = 0;
  while (place.segment.next !== undefined && place.segment.end <= index) {
    bytes += place.segment.filled - place.offset;
    place.index = place.segment.end;
    place.segment = place.segment.next;
    place.offset = 0;
  }
  while (place.index < index) {
    const next = packetEnd(place.segment.bytes, place.offset);
    bytes += next - place.offset;
    place.offset = next;
    place.index++;
  }
  return bytes;
}

/** A position in a {@linkcode PacketBuffer}; discarding packets does not move it. */
export class Cursor {
  #segment: Segment;
  #offset: number;
  #index: number;

  /** See {@linkcode PacketBuffer.cursor}. */
  constructor(segment: Segment, offset: number, index: number) {
    this.#segment = segment;
    this.#offset = offset;
    this.#index = index;
  }

  /** Index of the next packet. */
  get index(): number {
    return this.#index;
  }

  /** Another cursor at the same position. */
  copy(): Cursor {
    return new Cursor(this.#segment, this.#offset, this.#index);
  }

  /**
   * Advances over the next packets, at most to `limit`, and returns their bytes, which never change: at most
   * 64 KiB and `maxBytes`, or one packet that is larger. Undefined if there are none.
   */
  take(limit?: Cursor, maxBytes = Infinity): Uint8Array<ArrayBuffer> | undefined {
    if (this.#index === limit?.index) return undefined;
    while (this.#offset === this.#segment.filled) {
      if (this.#segment.next === undefined) return undefined;
      this.#segment = this.#segment.next;
      this.#offset = 0;
    }
    const limited = limit !== undefined && limit.#segment === this.#segment;
    const start = this.#offset;
    const end = limited ? limit.#offset : this.#segment.filled;
    if (end - start <= maxBytes) {
      this.#offset = end;
      this.#index = limited ? limit.#index : this.#segment.end;
    } else this.#takeSome(start + maxBytes);
    return this.#segment.bytes.subarray(start, this.#offset);
  }

  /** Advances over one packet, and over those after it that end at or before `endOffset`. */
  #takeSome(endOffset: number): void {
    const { bytes } = this.#segment;
    this.#offset = packetEnd(bytes, this.#offset);
    this.#index++;
    while (this.#offset < endOffset) {
      const next = packetEnd(bytes, this.#offset);
      if (next > endOffset) return;
      this.#offset = next;
      this.#index++;
    }
  }
}

/** The part of `ranges` from index `from` (inclusive) to `to` (exclusive). */
export function overlap(ranges: readonly OmittedRange[], from: number, to: number): OmittedRange[] {
  return ranges
    .filter((range) => range.to > from && range.from < to)
    .map((range) => ({ ...range, from: Math.max(range.from, from), to: Math.min(range.to, to) }));
}

/** A `PacketBatch` of placeholders for `packets` packets. */
export function omittedPackets(packets: number, reason: Omission): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(packets * OMITTED_BYTES);
  for (let at = 0; at < bytes.length; at += OMITTED_BYTES) {
    bytes.set([BATCH_PACKETS, 2, OMISSION, reason], at);
  }
  return bytes;
}

/**
 * Number of packets in a `PacketBatch`; `onOmitted` is called with the index of each placeholder. Throws a
 * RangeError for other bytes.
 */
export function countPackets(
  bytes: Uint8Array,
  onOmitted: (index: number, reason: Omission) => void = () => {},
): number {
  let packets = 0;
  for (let at = 0, next; at < bytes.length; at = next, packets++) {
    next = packetEnd(bytes, at);
    if (next - at === OMITTED_BYTES && bytes[at + 2] === OMISSION) onOmitted(packets, bytes[at + 3]!);
  }
  return packets;
}

/** End offset of the packet at `at`; throws a RangeError if there is none. */
export function packetEnd(bytes: Uint8Array, at: number): number {
  const start = varintEnd(bytes, at + 1);
  const end = start === undefined ? NaN : start + readVarint(bytes, at + 1, start);
  if (bytes[at] !== BATCH_PACKETS || !(end <= bytes.length)) {
    throw new RangeError(`Cannot read a packet: found no end of it in ${bytes.length} bytes`);
  }
  return end;
}
