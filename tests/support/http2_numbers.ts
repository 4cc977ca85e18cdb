/**
 * Numbers of RFC 9113, for tests that write and read frames themselves. Not those of `src/http2/frames.ts`: a wrong one
 * there must show.
 *
 * @module
 */

/** Frame types (section 6). */
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

/** Flags of frames; ACK is of SETTINGS and PING. */
export const ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, HAS_PRIORITY = 32;

/** Error codes (section 7). */
export const NO_ERROR = 0,
  PROTOCOL_ERROR = 1,
  INTERNAL_ERROR = 2,
  FLOW_CONTROL_ERROR = 3,
  STREAM_CLOSED = 5,
  FRAME_SIZE_ERROR = 6,
  REFUSED_STREAM = 7,
  CANCEL = 8,
  COMPRESSION_ERROR = 9,
  ENHANCE_YOUR_CALM = 11;

/** Parameters of SETTINGS (section 6.5.2). */
export const HEADER_TABLE_SIZE = 1, INITIAL_WINDOW_SIZE = 4;

/** Bytes of a frame's header, before its payload. */
export const FRAME_HEADER_BYTES = 9;

/** Longest payload that a peer accepts unless its SETTINGS_MAX_FRAME_SIZE is larger. */
export const MAX_FRAME_BYTES = 16_384;

/** Window of a connection and of a stream until SETTINGS or WINDOW_UPDATE change it. */
export const INITIAL_WINDOW_BYTES = 65_535;

/** The largest window. */
export const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/** The client's connection preface (section 3.4); its first SETTINGS frame follows. */
export const CLIENT_PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
