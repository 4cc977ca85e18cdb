/**
 * Bytes → packet: reads `Packet` and `PacketBatch` of `proto/telemetry.proto` in place, without an
 * object per packet.
 *
 * Follows the protobuf wire format: the last value of a repeated scalar wins, unknown fields and known
 * fields of another wire type are skipped, groups included.
 *
 * @module
 */

/** The bytes are not the protobuf message they should be. */
export class MalformedMessage extends Error {
  /** The name of the class. */
  override readonly name = "MalformedMessage";
}

/** Offsets of a packet's fields in the bytes it was read from. Reused from packet to packet. */
export class PacketView {
  /** First byte of `device_id`. */
  deviceIdStart = 0;
  /** Its end offset (exclusive). */
  deviceIdEnd = 0;
  /** First byte of `payload`. */
  payloadStart = 0;
  /** Its end offset (exclusive). */
  payloadEnd = 0;
  /** As sent, in whatever unit; exact up to 2^53, within 1,024 above. */
  timestamp = 0;
}

const VARINT = 0, FIXED64 = 1, LENGTH_DELIMITED = 2, START_GROUP = 3, END_GROUP = 4, FIXED32 = 5;

/** Protobuf's own implementations stop at 100 nested groups. */
const MAX_GROUP_DEPTH = 100;

const DEVICE_ID = 1 << 3 | LENGTH_DELIMITED;
const TIMESTAMP = 2 << 3 | VARINT;
const PAYLOAD = 3 << 3 | LENGTH_DELIMITED;
const BATCH_PACKETS = 1 << 3 | LENGTH_DELIMITED;

/** Reads the `Packet` in `bytes[start, end)` into `packet`; throws {@linkcode MalformedMessage}. */
export function readPacket(bytes: Uint8Array, start: number, end: number, packet: PacketView): void {
  packet.deviceIdStart =
    packet.deviceIdEnd =
    packet.payloadStart =
    packet.payloadEnd =
      start;
  packet.timestamp = 0;
  position = start;
  while (position < end) {
    const tag = readTag(bytes, end);
    if (tag === DEVICE_ID) {
      const length = readLength(bytes, end);
      packet.deviceIdStart = position;
      packet.deviceIdEnd = position += length;
    } else if (tag === PAYLOAD) {
      const length = readLength(bytes, end);
      packet.payloadStart = position;
      packet.payloadEnd = position += length;
    } else if (tag === TIMESTAMP) {
      packet.timestamp = readInt64(bytes, end);
    } else {
      skipField(bytes, end, tag);
    }
  }
}

/**
 * Calls `onPacket(start, end)` for each packet of the `PacketBatch` in `bytes[start, end)`; throws
 * {@linkcode MalformedMessage} at the first malformed byte, after the packets before it.
 */
export function readBatch(
  bytes: Uint8Array,
  start: number,
  end: number,
  onPacket: (start: number, end: number) => void,
): void {
  let at = start;
  while (at < end) {
    position = at;
    const tag = readTag(bytes, end);
    if (tag === BATCH_PACKETS) {
      const length = readLength(bytes, end);
      const packetStart = position;
      at = packetStart + length;
      onPacket(packetStart, at);
    } else {
      skipField(bytes, end, tag);
      at = position;
    }
  }
}

/**
 * Offset of the next byte to read. A module's variable and not a returned value, because a tuple per field
 * would be an object per field.
 */
let position = 0;

function truncated(): never {
  throw new MalformedMessage(`the message ends inside a field, at byte ${position}`);
}

function readTag(bytes: Uint8Array, end: number): number {
  let tag = bytes[position++]!;
  if (tag > 127) {
    position--;
    tag = readUint64(bytes, end);
  }
  if (tag < 8 || tag > 0xffff_ffff) {
    throw new MalformedMessage(`${tag} is not a field's tag, before byte ${position}`);
  }
  return tag;
}

function readLength(bytes: Uint8Array, end: number): number {
  if (position >= end) truncated();
  let length = bytes[position++]!;
  if (length > 127) {
    position--;
    length = readUint64(bytes, end);
  }
  if (length > end - position) truncated();
  return length;
}

function readUint64(bytes: Uint8Array, end: number): number {
  const value = readInt64(bytes, end);
  return value < 0 ? value + 2 ** 64 : value;
}

/** A varint of at most ten bytes as a two's complement 64-bit number. */
function readInt64(bytes: Uint8Array, end: number): number {
  let low = 0, high = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    if (position >= end) truncated();
    const byte = bytes[position++]!;
    low |= (byte & 127) << shift;
    if (byte < 128) return low >>> 0;
  }
  if (position >= end) truncated();
  let byte = bytes[position++]!;
  low |= (byte & 127) << 28;
  high = (byte & 127) >> 4;
  if (byte < 128) return high * 2 ** 32 + (low >>> 0);
  for (let shift = 3; shift <= 31; shift += 7) {
    if (position >= end) truncated();
    byte = bytes[position++]!;
    high |= (byte & 127) << shift;
    if (byte < 128) return high * 2 ** 32 + (low >>> 0);
  }
  throw new MalformedMessage(`a number is longer than ten bytes, at byte ${position}`);
}

/** Skips the rest of the field whose tag was read. */
function skipField(bytes: Uint8Array, end: number, tag: number): void {
  let depth = 0;
  for (;; tag = readTag(bytes, end)) {
    switch (tag & 7) {
      case VARINT:
        readInt64(bytes, end);
        break;
      case FIXED64:
        skipBytes(8, end);
        break;
      case LENGTH_DELIMITED:
        skipBytes(readLength(bytes, end), end);
        break;
      case START_GROUP:
        if (++depth > MAX_GROUP_DEPTH) {
          throw new MalformedMessage(`groups are nested deeper than ${MAX_GROUP_DEPTH}`);
        }
        groupNumbers[depth] = tag >>> 3;
        break;
      case END_GROUP:
        if (depth === 0 || groupNumbers[depth] !== tag >>> 3) {
          throw new MalformedMessage(
            `group ${tag >>> 3} ends where it did not begin, before byte ${position}`,
          );
        }
        depth--;
        break;
      case FIXED32:
        skipBytes(4, end);
        break;
      default:
        throw new MalformedMessage(`wire type ${tag & 7} does not exist, before byte ${position}`);
    }
    if (depth === 0) return;
    if (position >= end) truncated();
  }
}

const groupNumbers = new Float64Array(MAX_GROUP_DEPTH + 1);

function skipBytes(count: number, end: number): void {
  if (count > end - position) truncated();
  position += count;
}

/**
 * Unix time in seconds, milliseconds, microseconds or nanoseconds → milliseconds.
 *
 * The units do not overlap for dates from 1973 to 5138: below 1e11 are seconds, below 1e14
 * milliseconds, below 1e17 microseconds, and nanoseconds above.
 */
export function unixMilliseconds(timestamp: number): number {
  if (timestamp < 1e11) return timestamp * 1000;
  if (timestamp < 1e14) return timestamp;
  if (timestamp < 1e17) return Math.floor(timestamp / 1e3);
  return Math.floor(timestamp / 1e6);
}
