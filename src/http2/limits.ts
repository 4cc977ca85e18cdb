/**
 * Every limit of a connection in one object: its purpose, unit, default and the reason for the default.
 *
 * @module
 */

/** Limits of one connection. Those of a process (connections, memory) belong to the server that accepts connections. */
export interface ConnectionLimits {
  /**
   * Streams open at once (SETTINGS_MAX_CONCURRENT_STREAMS); one more is refused with REFUSED_STREAM. A gateway has one
   * stream per device.
   */
  readonly maxConcurrentStreams: number;
  /**
   * Size of the header list of a call: names, values and 32 bytes for each field, as RFC 9113, 6.5.2 counts
   * (SETTINGS_MAX_HEADER_LIST_SIZE). A larger one refuses its call.
   */
  readonly maxHeaderListBytes: number;
  /** Bytes of one encoded header block; above it the connection ends (CVE-2024-27316). */
  readonly maxHeaderBlockBytes: number;
  /** Frames of one header block, HEADERS included; needed beside the bytes, as CONTINUATION frames may be empty. */
  readonly maxHeaderBlockFrames: number;
  /** Parameters in one SETTINGS frame; RFC 9113 defines six. */
  readonly maxSettingsEntries: number;
  /** Bytes of DATA in flight on a connection: above those of a stream, so that a blocked one cannot starve the others. */
  readonly connectionWindowBytes: number;
  /**
   * Bytes of DATA in flight on a stream from its first WINDOW_UPDATE on, which only a busy stream gets. Measured with 16
   * streams, in M packets/s of one ingest process (16 frames per write; full frames): 64 KiB: 1.5; 2.3. 256 KiB: 1.9;
   * 2.9. 1 MiB: 1.9; 3.3. A blocked stream may buffer as many bytes.
   */
  readonly streamWindowBytes: number;
  /** Bytes written that the peer has not read; above it the connection is closed. */
  readonly maxUnreadBytes: number;
  /**
   * Streams that may be reset at once: by the peer (rapid reset, CVE-2023-44487), or here because of frames that it sent
   * (CVE-2025-8671). Above the limit, new calls are refused with ENHANCE_YOUR_CALM and open ones continue: when the peer
   * is a proxy, they belong to other clients.
   */
  readonly resetBurst: number;
  /** Rate at which {@linkcode resetBurst} is refilled, and after a burst the sustained rate. */
  readonly resetsPerSecond: number;
  /** Refused calls after which GOAWAY is sent; open calls continue to their end. */
  readonly refusalsBeforeGoAway: number;
  /**
   * Control frames accepted at once: frames that carry no data and cost work or a reply. These are SETTINGS, PING,
   * PRIORITY, frames of closed streams, DATA of less than {@linkcode smallDataBytes}, and WINDOW_UPDATE in excess of the
   * DATA sent to the peer. Above the limit the connection ends with ENHANCE_YOUR_CALM (CVE-2019-9511 … 9518). An ordinary
   * client sends a handful per connection, and a keepalive PING at most every 10 s.
   */
  readonly controlFrameBurst: number;
  /** Rate at which {@linkcode controlFrameBurst} is refilled, and after a burst the sustained rate. */
  readonly controlFramesPerSecond: number;
  /** Control frames that one SETTINGS frame counts as: it may change the windows of all streams. */
  readonly settingsFrameCost: number;
  /** DATA frames with fewer bytes and without END_STREAM count as control frames; 5 is a gRPC message's prefix. */
  readonly smallDataBytes: number;
  /** Bridged calls accepted at once, which cost far more than others; above the limit a call is refused. */
  readonly bridgedCallBurst: number;
  /** Rate at which {@linkcode bridgedCallBurst} is refilled, and after a burst the sustained rate. */
  readonly bridgedCallsPerSecond: number;
  /**
   * Work units that one connection may use before other connections read: a DATA frame takes 1, another frame 4, the
   * HEADERS of a call 84 with that, of a bridged call 532. One read (64 KiB) of ordinary messages stays below it.
   */
  readonly workPerTurn: number;
  /** How often {@linkcode Http2Connection.keepaliveTick} is called, ms. */
  readonly keepaliveTickMs: number;
  /** Ticks without received bytes after which a keepalive PING is sent. */
  readonly ticksBeforePing: number;
  /** Ticks without received bytes after which the connection is closed: the keepalive timeout. */
  readonly ticksBeforeClose: number;
  /**
   * Bytes that a peer must send per tick while the preface, a frame, a header block or a message is incomplete; otherwise
   * the connection (of a message: the stream) ends, so that a slow sender cannot hold memory without end.
   */
  readonly minProgressBytes: number;
  /** How long a peer may take to half-close a call after its response, before RST_STREAM with NO_ERROR is sent, ms. */
  readonly earlyEndGraceMs: number;
  /** How long the socket stays open after the connection was closed, so that the peer can read GOAWAY, ms. */
  readonly lingerMs: number;
}

/** The defaults. */
export const defaultLimits: ConnectionLimits = {
  maxConcurrentStreams: 1000,
  maxHeaderListBytes: 16_384,
  maxHeaderBlockBytes: 32_768,
  maxHeaderBlockFrames: 16,
  maxSettingsEntries: 32,
  connectionWindowBytes: 1 << 20,
  streamWindowBytes: 1 << 18,
  maxUnreadBytes: 1 << 20,
  resetBurst: 1000,
  resetsPerSecond: 30,
  refusalsBeforeGoAway: 1000,
  controlFrameBurst: 1000,
  controlFramesPerSecond: 50,
  settingsFrameCost: 20,
  smallDataBytes: 5,
  bridgedCallBurst: 200,
  bridgedCallsPerSecond: 100,
  workPerTurn: 4096,
  keepaliveTickMs: 10_000,
  ticksBeforePing: 3,
  ticksBeforeClose: 4,
  minProgressBytes: 1024,
  earlyEndGraceMs: 100,
  lingerMs: 1000,
};
