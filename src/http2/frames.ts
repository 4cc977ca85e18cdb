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

/** Why a stream or a connection ends (section 7). */
export const NO_ERROR = 0,
  PROTOCOL_ERROR = 1,
  FLOW_CONTROL_ERROR = 3,
  STREAM_CLOSED = 5,
  FRAME_SIZE_ERROR = 6,
  REFUSED_STREAM = 7,
  COMPRESSION_ERROR = 9,
  ENHANCE_YOUR_CALM = 11;

/** Parameters of SETTINGS (section 6.5.2). */
export const HEADER_TABLE_SIZE = 1,
  MAX_CONCURRENT_STREAMS = 3,
  INITIAL_WINDOW_SIZE = 4,
  MAX_HEADER_LIST_SIZE = 6;

/** What came is not HTTP/2, or more than is borne: the connection ends, with GOAWAY and `code`. */
export class Http2Error extends Error {
  /** `message` is for whoever looks for the fault in the device. */
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** What a client says first. */
export const PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Bytes in front of a frame's payload: its length in three, type, flags, and the stream's number in four. */
export const FRAME_HEADER_BYTES = 9;

/** The longest payload that may be sent to who has not allowed more (SETTINGS_MAX_FRAME_SIZE). */
export const MAX_FRAME_BYTES = 16_384;

/** What may be sent ahead, on a connection and on a stream, before either side says otherwise. */
export const INITIAL_WINDOW_BYTES = 65_535;

/** No window may be larger. */
export const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/** Throws when the other side has opened a window to more than it may have. */
export function mustBeWindow(bytes: number): void {
  if (bytes > MAX_WINDOW_BYTES) throw new Http2Error(FLOW_CONTROL_ERROR, "a window above 2^31 - 1 bytes");
}

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

/** One frame whose payload is a number or two of 32 bits: WINDOW_UPDATE, RST_STREAM, GOAWAY. */
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

/** The number of 32 bits at `at`. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0;
}

/** The stream's number in the frame's header at `at`. */
export function readStreamId(bytes: Uint8Array, at: number): number {
  return (bytes[at + 5]! & 127) << 24 | bytes[at + 6]! << 16 | bytes[at + 7]! << 8 | bytes[at + 8]!;
}

/** The length of the payload in the frame's header at `at`. */
export function readPayloadBytes(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!;
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** `parts` in one. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** What the other side may send, of a stream or of a connection: held to it, and told when it may send more. */
export class ReceiveWindow {
  #limitBytes = INITIAL_WINDOW_BYTES;
  /** Received, and not yet told as read. */
  #underWayBytes = 0;
  /** Of these, what was read. */
  #readBytes = 0;

  /** `fullBytes` may be under way from the first WINDOW_UPDATE on. */
  constructor(readonly fullBytes: number) {}

  /** False: the other side was not allowed to send that much. */
  received(bytes: number): boolean {
    this.#underWayBytes += bytes;
    return this.#underWayBytes <= this.#limitBytes;
  }

  /** Returns what is to be sent as a WINDOW_UPDATE; 0 while less than half of the window was read. */
  read(bytes: number): number {
    this.#readBytes += bytes;
    return 2 * this.#readBytes < this.#limitBytes ? 0 : this.open();
  }

  /** The same, at once. */
  open(): number {
    const increment = this.#readBytes + this.fullBytes - this.#limitBytes;
    this.#underWayBytes -= this.#readBytes;
    this.#readBytes = 0;
    this.#limitBytes = this.fullBytes;
    return increment;
  }
}
