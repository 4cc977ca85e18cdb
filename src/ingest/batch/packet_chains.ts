/**
 * All packets of a batch, for the packet stream of the store.
 *
 * Each is copied once, into memory that the batches of a queue use in turn: to keep the messages themselves would also
 * keep whatever else came in the same read of a socket, which nothing bounds. Only the fields that were checked are
 * copied: a message that only some implementations of protobuf accept must not stop those who read the stream.
 *
 * The packets of one device are a chain.
 *
 * @module
 */
import { varintSize, writeVarint } from "../../protocol/varint.ts";

/** Keys of `PacketBatch.packets` and of the fields of `Packet`. */
const PACKETS = 1 << 3 | 2, DEVICE_ID = 1 << 3 | 2, TIMESTAMP = 2 << 3, PAYLOAD = 3 << 3 | 2;

/** Key and length of a packet. */
const MAX_HEAD_BYTES = 1 + 5;

const FIRST_BYTES = 65_536, FIRST_PACKETS = 1024;

/** Memory grows to what a batch needs, and shrinks once a batch needs less than a quarter. */
export class PacketChains {
  /** Each packet as a field of a `PacketBatch`, in the order in which they came. */
  #bytes = new Uint8Array(FIRST_BYTES);
  #size = 0;
  /** End offset of each packet. */
  #ends = new Uint32Array(FIRST_PACKETS);
  /** The next packet of its device. */
  #next = new Uint32Array(FIRST_PACKETS);
  #packets = 0;

  /**
   * Keeps a packet; returns its number. The length of the id is at `ids[idAt]`, and the id follows it; the payload is
   * `bytes[start, end)`.
   */
  add(
    ids: Uint8Array,
    idAt: number,
    timestampMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): number {
    const idBytes = ids[idAt]!, payloadBytes = end - start;
    // An id has 128 bytes at most, in a length of two.
    const lengthBytes = idBytes < 128 ? 1 : 2;
    const length = 3 + lengthBytes + idBytes + timestampSize(timestampMs) + varintSize(payloadBytes) +
      payloadBytes;
    const needed = this.#size + MAX_HEAD_BYTES + length;
    if (needed > this.#bytes.length) this.#growBytes(needed);
    if (this.#packets === this.#ends.length) this.#growPackets();
    const target = this.#bytes;
    let at = this.#size;
    target[at] = PACKETS;
    at = writeVarint(target, at + 1, length);
    target[at] = DEVICE_ID;
    at = writeVarint(target, at + 1, idBytes);
    copyBytes(ids, idAt + 1, idAt + 1 + idBytes, target, at);
    at += idBytes;
    target[at] = TIMESTAMP;
    at = writeTimestamp(target, at + 1, timestampMs);
    target[at] = PAYLOAD;
    at = writeVarint(target, at + 1, payloadBytes);
    copyBytes(bytes, start, end, target, at);
    this.#ends[this.#packets] = this.#size = at + payloadBytes;
    return this.#packets++;
  }

  /** `later` follows `packet` in the chain of their device. */
  link(packet: number, later: number): void {
    this.#next[packet] = later;
  }

  /** The packet after `packet` in its chain, unless it is the last. */
  next(packet: number): number {
    return this.#next[packet]!;
  }

  /** Length of a packet, as a field of a `PacketBatch`. */
  bytesOf(packet: number): number {
    return this.#ends[packet]! - this.#startOf(packet);
  }

  /** Writes a packet, as a field of a `PacketBatch`, to `target` from `at` on; returns its end. */
  write(packet: number, target: Uint8Array, at: number): number {
    const start = this.#startOf(packet), end = this.#ends[packet]!;
    copyBytes(this.#bytes, start, end, target, at);
    return at + end - start;
  }

  /** Forgets all packets: the batch that had them is settled. */
  clear(): void {
    if (this.#bytes.length > FIRST_BYTES && this.#bytes.length > 4 * this.#size) {
      this.#bytes = new Uint8Array(Math.max(FIRST_BYTES, 2 * this.#size));
    }
    this.#size = this.#packets = 0;
  }

  #startOf(packet: number): number {
    return packet === 0 ? 0 : this.#ends[packet - 1]!;
  }

  #growBytes(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    bytes.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = bytes;
  }

  #growPackets(): void {
    const length = 2 * this.#ends.length;
    const ends = new Uint32Array(length), next = new Uint32Array(length);
    ends.set(this.#ends);
    next.set(this.#next);
    this.#ends = ends;
    this.#next = next;
  }
}

/** Of the low four bytes of a varint. */
const LOW = 2 ** 28;

/** As `varintSize()`, of which the divisions take longer than all else of a packet. */
function timestampSize(timestampMs: number): number {
  return timestampMs < LOW ? varintSize(timestampMs) : 4 + varintSize(Math.floor(timestampMs / LOW));
}

/** As `writeVarint()`. */
function writeTimestamp(target: Uint8Array, at: number, timestampMs: number): number {
  if (timestampMs < LOW) return writeVarint(target, at, timestampMs);
  const high = Math.floor(timestampMs / LOW), low = timestampMs - high * LOW;
  target[at] = low & 0x7f | 0x80;
  target[at + 1] = low >>> 7 & 0x7f | 0x80;
  target[at + 2] = low >>> 14 & 0x7f | 0x80;
  target[at + 3] = low >>> 21 | 0x80;
  return writeVarint(target, at + 4, high);
}

/** From so many bytes on a view costs less than a loop. */
const VIEW_BYTES = 64;

/** Copies `source[start, end)` to `target`, from `at` on. */
export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - start >= VIEW_BYTES) target.set(source.subarray(start, end), at);
  else for (let i = start; i < end; i++) target[at + i - start] = source[i]!;
}
