/**
 * The packets of a client that are not known to be settled, encoded: any run of them is a `PacketBatch` of the
 * proto, so that sending them again, or writing them to a file, encodes nothing again.
 *
 * @module
 */
import { MAX_DEVICE_ID_BYTES } from "../protocol/field_limits.ts";
import type { Packet } from "../protocol/messages.ts";
import { readVarint, varintEnd, varintSize, writeVarint } from "../protocol/varint.ts";

/** Bytes of a segment: what one message carries, unless a single packet is larger. */
const SEGMENT_BYTES = 64 * 1024;

/** Keys of the proto's fields: number and wire type (0 varint, 2 length-delimited). */
const BATCH_PACKETS = 1 << 3 | 2;
const PACKET_DEVICE_ID = 1 << 3 | 2, PACKET_TIMESTAMP = 2 << 3, PACKET_PAYLOAD = 3 << 3 | 2;

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

/** Packets in the order they were added, with consecutive indexes. */
export class PacketBuffer {
  /** Index of the oldest packet kept, and of the next one. */
  #start: number;
  #end: number;
  #bytes = 0;
  #head: Segment;
  #headOffset = 0;
  #tail: Segment;
  #omitted: OmittedRange[] = [];

  /** The first packet will be number `start`. */
  constructor(start = 0) {
    this.#start = this.#end = start;
    this.#head = this.#tail = { bytes: new Uint8Array(0), filled: 0, end: start, next: undefined };
  }

  /** Index of the oldest packet kept; {@linkcode end} if there is none. */
  get start(): number {
    return this.#start;
  }

  /** Index the next packet will have. */
  get end(): number {
    return this.#end;
  }

  /** Packets kept. */
  get packets(): number {
    return this.#end - this.#start;
  }

  /** Encoded size of the packets kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a packet, encoded. */
  add(packet: EncodedPacket): void {
    const segment = this.#room(packet.size);
    segment.filled = packet.write(segment.bytes, segment.filled);
    this.#added(1, packet.size);
  }

  /** Packets among those kept that were left out before they were added, oldest first. */
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

  /** Discards the packets before `index`, at most all. */
  discardBefore(index: number): void {
    while (this.#head.next !== undefined && this.#head.end <= index) {
      this.#bytes -= this.#head.filled - this.#headOffset;
      this.#start = this.#head.end;
      this.#head = this.#head.next;
      this.#headOffset = 0;
    }
    while (this.#start < index && this.#start < this.#end) {
      const next = packetEnd(this.#head.bytes, this.#headOffset);
      this.#bytes -= next - this.#headOffset;
      this.#headOffset = next;
      this.#start++;
    }
    if (this.#omitted.length > 0) this.#omitted = overlap(this.#omitted, this.#start, Infinity);
  }

  /** A cursor at the oldest packet kept. */
  cursor(): Cursor {
    return new Cursor(this.#head, this.#headOffset, this.#start);
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

const textEncoder = new TextEncoder();

/** A packet before it is added; one object is reused for all, see {@linkcode EncodedPacket.set}. */
export class EncodedPacket {
  /** Bytes of the packet as an entry of a `PacketBatch`. */
  size = 0;
  #deviceId = new Uint8Array(3 * MAX_DEVICE_ID_BYTES);
  #deviceIdLength = 0;
  #timestamp = 0;
  #payload: Uint8Array = new Uint8Array(0);
  #contentSize = 0;

  /** Measures `packet`; throws a TypeError for values that no packet can have. */
  set({ device_id, timestamp, payload }: Packet): void {
    if (
      typeof device_id !== "string" || !Number.isSafeInteger(timestamp) || !(payload instanceof Uint8Array)
    ) {
      throw new TypeError(
        `Cannot send a packet with device_id ${kind(device_id)}, timestamp ${kind(timestamp)}, ` +
          `payload ${kind(payload)}: a string, a whole number below 2^53 and a Uint8Array are needed`,
      );
    }
    if (this.#deviceId.length < 3 * device_id.length) this.#deviceId = new Uint8Array(3 * device_id.length);
    this.#deviceIdLength = encodeText(device_id, this.#deviceId);
    this.#timestamp = timestamp;
    this.#payload = payload;
    this.#contentSize = 1 + varintSize(this.#deviceIdLength) + this.#deviceIdLength +
      1 + varintSize(timestamp) +
      1 + varintSize(payload.length) + payload.length;
    this.size = 1 + varintSize(this.#contentSize) + this.#contentSize;
  }

  /** Writes {@linkcode size} bytes at `at`; returns their end offset. */
  write(bytes: Uint8Array, at: number): number {
    bytes[at++] = BATCH_PACKETS;
    at = writeVarint(bytes, at, this.#contentSize);
    bytes[at++] = PACKET_DEVICE_ID;
    at = writeVarint(bytes, at, this.#deviceIdLength);
    for (let index = 0; index < this.#deviceIdLength; index++) bytes[at++] = this.#deviceId[index]!;
    bytes[at++] = PACKET_TIMESTAMP;
    at = writeVarint(bytes, at, this.#timestamp);
    bytes[at++] = PACKET_PAYLOAD;
    at = writeVarint(bytes, at, this.#payload.length);
    bytes.set(this.#payload, at);
    return at + this.#payload.length;
  }
}

/** Device ids are short and mostly ASCII: a loop is faster than a call of the encoder. */
function encodeText(text: string, into: Uint8Array): number {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 0x7f) return textEncoder.encodeInto(text, into).written;
    into[index] = code;
  }
  return text.length;
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

function kind(value: unknown): string {
  return typeof value === "number" ? String(value) : value === null ? "null" : typeof value;
}
