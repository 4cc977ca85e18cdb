/**
 * HTTP/2 on the wire: frames, error codes and flow-control windows (RFC 9113).
 *
 * @module
 */

/** Types of frames (section 6). */
export const DATA = 0,
  HEADERS = 1,
  PRIORITY = 2,
  RST_STREAM = 3,
  SETTINGS = 4,
  PUSH_PROMISE = 5,
  PING = 6,
  GOAWAY = 7,
  WINDOW_UPDATE = 8,
  CONTINUATION = 9;

/** Flags of frames. */
export const ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, HAS_PRIORITY = 32;

/** Error codes of RST_STREAM and GOAWAY (section 7). */
export const NO_ERROR = 0,
  PROTOCOL_ERROR = 1,
  INTERNAL_ERROR = 2,
  FLOW_CONTROL_ERROR = 3,
  STREAM_CLOSED = 5,
  FRAME_SIZE_ERROR = 6,
  REFUSED_STREAM = 7,
  CANCEL = 8,
  COMPRESSION_ERROR = 9,
  ENHANCE_YOUR_CALM = 11,
  INADEQUATE_SECURITY = 12;

/** Parameters of SETTINGS (section 6.5.2). */
export const HEADER_TABLE_SIZE = 1,
  ENABLE_PUSH = 2,
  MAX_CONCURRENT_STREAMS = 3,
  INITIAL_WINDOW_SIZE = 4,
  MAX_FRAME_SIZE = 5,
  MAX_HEADER_LIST_SIZE = 6;

/** Connection error: a protocol error or an exceeded limit. The connection ends with GOAWAY and `code` (section 5.4.1). */
export class Http2Error extends Error {
  /** The class's name, shown before the message. */
  override readonly name = "Http2Error";

  /** `message` is sent as GOAWAY's debug data, to help find the fault in the peer. */
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** The client's connection preface (section 3.4). */
export const PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Frame header: payload length in 3 bytes, type in 1, flags in 1, stream id in 4 (section 4.1). */
export const FRAME_HEADER_BYTES = 9;

/** The longest payload that may be sent to a peer that has not raised SETTINGS_MAX_FRAME_SIZE; also the longest accepted. */
export const MAX_FRAME_BYTES = 16_384;

/** Initial window of a connection and of a stream, until SETTINGS or WINDOW_UPDATE change it (section 6.9.2). */
export const INITIAL_WINDOW_BYTES = 65_535;

/** The largest allowed window (section 6.9.1). */
export const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/** The largest allowed SETTINGS_MAX_FRAME_SIZE (section 6.5.2). */
export const MAX_FRAME_SIZE_LIMIT = 2 ** 24 - 1;

/** One frame, with a copy of `payload`. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  bytes[0] = payload.length >> 16;
  bytes[1] = payload.length >> 8;
  bytes[2] = payload.length;
  bytes[3] = type;
  bytes[4] = flags;
  writeUint32(bytes, 5, streamId);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

/** One frame whose payload is one or two 32-bit integers: WINDOW_UPDATE, RST_STREAM, GOAWAY. */
export function numbersFrame(type: number, streamId: number, ...numbers: number[]): Uint8Array {
  const bytes = frame(type, 0, streamId, new Uint8Array(4 * numbers.length));
  numbers.forEach((number, i) => writeUint32(bytes, FRAME_HEADER_BYTES + 4 * i, number));
  return bytes;
}

/** A SETTINGS frame. */
export function settingsFrame(
  settings: readonly (readonly [parameter: number, value: number])[],
): Uint8Array {
  const payload = new Uint8Array(6 * settings.length);
  settings.forEach(([parameter, value], i) => {
    payload[6 * i + 1] = parameter;
    writeUint32(payload, 6 * i + 2, value);
  });
  return frame(SETTINGS, 0, 0, payload);
}

/** The unsigned 32-bit big-endian integer at `at`. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0;
}

/** The stream id in the frame header at `at`. */
export function readStreamId(bytes: Uint8Array, at: number): number {
  return (bytes[at + 5]! & 127) << 24 | bytes[at + 6]! << 16 | bytes[at + 7]! << 8 | bytes[at + 8]!;
}

/** The payload's length in the frame header at `at`. */
export function readPayloadBytes(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!;
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** `parts`, concatenated. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
