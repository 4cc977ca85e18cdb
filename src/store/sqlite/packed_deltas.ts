/**
 * Deltas of devices as one value: it crosses between threads, and it is a segment of a log.
 *
 * Of each delta, one after the other: the length of the id in a byte, and the id in UTF-8; packets, as a varint; the
 * timestamp, as a little-endian double; the length of the payload, as a varint, and the payload.
 *
 * @module
 */
import { readVarint, varintEnd, varintSize, writeVarint } from "../../protocol/varint.ts";
import type { DeltaBytes, DeviceDelta } from "../packets.ts";

const DOUBLE_BYTES = 8;

const utf8 = new TextEncoder(), text = new TextDecoder();

/** From so many bytes on a view costs less than a loop. */
const VIEW_BYTES = 64;

function copy(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start >= VIEW_BYTES) target.set(source.subarray(start, end), at);
  else for (let i = start; i < end; i++) target[at + i - start] = source[i]!;
}

/** Bytes of a delta that has none. */
class UnpackedBytes implements DeltaBytes {
  readonly #id: Uint8Array;
  readonly #payload: Uint8Array;

  constructor({ deviceId, payload }: DeviceDelta) {
    this.#id = utf8.encode(deviceId);
    this.#payload = payload;
  }

  get idBytes(): number {
    return this.#id.length;
  }

  get payloadBytes(): number {
    return this.#payload.length;
  }

  writeId(target: Uint8Array, at: number): void {
    target.set(this.#id, at);
  }

  writePayload(target: Uint8Array, at: number): void {
    target.set(this.#payload, at);
  }
}

/** Packs deltas. */
export function packDeltas(deltas: readonly DeviceDelta[]): Uint8Array<ArrayBuffer> {
  const whole = wholeOf(deltas);
  if (whole !== undefined) return whole;
  let length = 0;
  const bytesOf = deltas.map((delta) => {
    const bytes = delta.bytes ?? new UnpackedBytes(delta), { idBytes, payloadBytes } = bytes;
    length += 1 + idBytes + varintSize(delta.packets) + DOUBLE_BYTES + varintSize(payloadBytes) +
      payloadBytes;
    return bytes;
  });
  const packed = new Uint8Array(length), view = new DataView(packed.buffer);
  for (let i = 0, at = 0; i < deltas.length; i++) {
    const { packets, timestampMs } = deltas[i]!, bytes = bytesOf[i]!, { idBytes, payloadBytes } = bytes;
    packed[at++] = idBytes;
    bytes.writeId(packed, at);
    at = writeVarint(packed, at + idBytes, packets);
    view.setFloat64(at, timestampMs, true);
    at = writeVarint(packed, at + DOUBLE_BYTES, payloadBytes);
    bytes.writePayload(packed, at);
    at += payloadBytes;
  }
  return packed;
}

/** The value that the deltas were unpacked from, if they are all of it. */
function wholeOf(deltas: readonly DeviceDelta[]): Uint8Array<ArrayBuffer> | undefined {
  const first = deltas[0];
  return first instanceof PackedDelta && first.of === deltas.length ? first.packed : undefined;
}

/** Unpacks what {@linkcode packDeltas} returned. `numbers`: of the devices, see {@linkcode DeviceDelta.device}. */
export function unpackDeltas(packed: Uint8Array<ArrayBuffer>, numbers?: Float64Array): PackedDelta[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  const deltas: PackedDelta[] = [];
  for (let at = 0; at < packed.length;) {
    const delta = new PackedDelta(packed, at);
    if (numbers !== undefined) delta.device = numbers[deltas.length]!;
    at = delta.read(view);
    deltas.push(delta);
  }
  for (const delta of deltas) delta.of = deltas.length;
  return deltas;
}

/** One of several deltas in one value. */
export class PackedDelta implements DeviceDelta, DeltaBytes {
  /** See {@linkcode DeviceDelta}. */
  packets = 0;
  /** See {@linkcode DeviceDelta}. */
  timestampMs = 0;
  /** See {@linkcode DeviceDelta}. */
  declare device?: number;
  /** How many deltas are in the value. */
  of = 0;
  #payloadStart = 0;
  #payloadEnd = 0;

  /** That which begins at `start` of `packed`. */
  constructor(readonly packed: Uint8Array<ArrayBuffer>, readonly start: number) {}

  /** Reads it; `view` is of {@linkcode packed}. Returns its end. */
  read(view: DataView): number {
    const { packed, start } = this, packetsAt = start + 1 + packed[start]!;
    const timestampAt = varintEnd(packed, packetsAt)!, lengthAt = timestampAt + DOUBLE_BYTES;
    this.packets = readVarint(packed, packetsAt, timestampAt);
    this.timestampMs = view.getFloat64(timestampAt, true);
    this.#payloadStart = varintEnd(packed, lengthAt)!;
    return this.#payloadEnd = this.#payloadStart + readVarint(packed, lengthAt, this.#payloadStart);
  }

  /** See {@linkcode DeviceDelta}. */
  get deviceId(): string {
    const idStart = this.start + 1;
    return text.decode(this.packed.subarray(idStart, idStart + this.idBytes));
  }

  /** See {@linkcode DeviceDelta}. */
  get payload(): Uint8Array {
    return this.packed.subarray(this.#payloadStart, this.#payloadEnd);
  }

  /** See {@linkcode DeviceDelta}. */
  get bytes(): DeltaBytes {
    return this;
  }

  /** See {@linkcode DeltaBytes}. */
  get idBytes(): number {
    return this.packed[this.start]!;
  }

  /** See {@linkcode DeltaBytes}. */
  get payloadBytes(): number {
    return this.#payloadEnd - this.#payloadStart;
  }

  /** See {@linkcode DeltaBytes}. */
  writeId(target: Uint8Array, at: number): void {
    copy(this.packed, this.start + 1, this.start + 1 + this.idBytes, target, at);
  }

  /** See {@linkcode DeltaBytes}. */
  writePayload(target: Uint8Array, at: number): void {
    copy(this.packed, this.#payloadStart, this.#payloadEnd, target, at);
  }
}
