/**
 * Every bound of a connection, in one object: what it is for, its unit, its default and the reason for it.
 *
 * @module
 */

/** Bounds of one connection; those of a process are the business of whoever accepts connections. */
export interface ConnectionLimits {
  /**
   * Streams open at once (SETTINGS_MAX_CONCURRENT_STREAMS); one more is refused with REFUSED_STREAM. A gateway
   * keeps one per device behind it.
   */
  readonly maxConcurrentStreams: number;
  /**
   * Size of the header list of a call: names, values and 32 bytes for each field, as RFC 9113, 6.5.2 counts
   * (SETTINGS_MAX_HEADER_LIST_SIZE). A larger one refuses its call.
   */
  readonly maxHeaderListBytes: number;
  /** Bytes of the frames that carry one header block; above it the connection ends (CVE-2024-27316). */
  readonly maxHeaderBlockBytes: number;
  /** Frames that carry one header block, HEADERS included: empty CONTINUATION frames cost the sender nothing. */
  readonly maxHeaderBlockFrames: number;
  /** Parameters in one SETTINGS frame; RFC 9113 defines six. */
  readonly maxSettingsEntries: number;
  /** Bytes of DATA in flight on a connection: above those of a stream, so that a blocked one cannot starve the others. */
  readonly connectionWindowBytes: number;
  /**
   * Bytes of DATA in flight on a stream from its first WINDOW_UPDATE on, which only a busy one gets. Of 16 streams
   * with 16 frames per write, and with filled frames, one ingest process takes 1.5 and 2.3 M packets/s with 64 KiB,
   * 1.9 and 2.9 M with 256 KiB, 1.9 and 3.3 M with 1 MiB (measured); but this much is kept of each blocked stream.
   */
  readonly streamWindowBytes: number;
  /** Bytes written that the peer has not read; above it the connection is closed. */
  readonly maxUnreadBytes: number;
  /**
   * Streams that may be reset: by the peer (CVE-2023-44487), or here because of what it sent (CVE-2025-8671). So many
   * at once, and so many a second after that. Beyond them, new calls are refused with ENHANCE_YOUR_CALM while those
   * that are open go on: behind a proxy, they are somebody else's.
   */
  readonly resetBurst: number;
  /** See {@linkcode resetBurst}. */
  readonly resetsPerSecond: number;
  /** Calls refused for too many resets, after which GOAWAY is sent; open calls still go on to their end. */
  readonly refusalsBeforeGoAway: number;
  /**
   * Frames that carry nothing and cost work or a reply: SETTINGS, PING, PRIORITY, frames of closed streams, DATA of
   * less than {@linkcode smallDataBytes}, WINDOW_UPDATE beyond those that DATA sent from here explains. So many at
   * once, and so many a second after that; beyond them the connection ends with ENHANCE_YOUR_CALM (CVE-2019-9511 …
   * 9518). A client sends a handful in its life, and a keepalive PING every 10 s at the most often.
   */
  readonly controlFrameBurst: number;
  /** See {@linkcode controlFrameBurst}. */
  readonly controlFramesPerSecond: number;
  /** What a SETTINGS frame counts for, as each may change the windows of all streams. */
  readonly settingsFrameCost: number;
  /** DATA frames with less than this, and without END_STREAM, count as control frames: not even a message's prefix. */
  readonly smallDataBytes: number;
  /** Calls handed to the bridge, which cost far more than others: so many at once, and so many a second after that. */
  readonly bridgedCallBurst: number;
  /** See {@linkcode bridgedCallBurst}. */
  readonly bridgedCallsPerSecond: number;
  /**
   * Work units that one connection may use before the others have their turn: a frame is one to four, a call 64, a
   * call handed to the bridge 512. The frames of one read (64 KiB) of honest messages stay below it.
   */
  readonly workPerTurn: number;
  /** How often {@linkcode Http2Connection.keepaliveTick} is called, ms. */
  readonly keepaliveTickMs: number;
  /** Silent ticks after which a keepalive PING is sent. */
  readonly ticksBeforePing: number;
  /** Silent ticks after which the connection is closed: the keepalive timeout. */
  readonly ticksBeforeClose: number;
  /**
   * Bytes that must come in a tick while a preface, a frame, a header block or a message is incomplete, or the
   * connection (the stream, for a message) ends: one byte every nine seconds must not hold memory for ever.
   */
  readonly minProgressBytes: number;
  /** How long a peer may take to half-close a call that ended early, before RST_STREAM with NO_ERROR, ms. */
  readonly earlyEndGraceMs: number;
  /** How long the connection stays after GOAWAY with an error, so that the peer can read it, ms. */
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
