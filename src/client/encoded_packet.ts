/**
 * A packet as an entry of a `PacketBatch` of the proto.
 *
 * @module
 */
import { MAX_DEVICE_ID_BYTES } from "../protocol/field_limits.ts";
import type { Packet } from "../protocol/messages.ts";
import { varintSize, writeVarint } from "../protocol/varint.ts";

/** Key of `PacketBatch.packets`: number and wire type (0 varint, 2 length-delimited). */
export const BATCH_PACKETS = 1 << 3 | 2;

const PACKET_DEVICE_ID = 1 << 3 | 2, PACKET_TIMESTAMP = 2 << 3, PACKET_PAYLOAD = 3 << 3 | 2;

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

function kind(value: unknown): string {
  return typeof value === "number" ? String(value) : value === null ? "null" : typeof value;
}
