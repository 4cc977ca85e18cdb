/**
 * Counters of the HTTP/2 connections of a process, for metrics.
 *
 * @module
 */

/** Totals since the process started, except {@linkcode bridgedCalls}. */
export class Http2Counters {
  /** Connections closed for protocol errors, exceeded limits, too little progress or keepalive timeout. */
  connectionsCut = 0;
  /** Calls refused when they were opened: too many streams, header list too large, too many resets, draining. */
  callsRefused = 0;
  /** Streams reset here because of frames that the peer sent on them. */
  streamsReset = 0;
  /** Calls that grpc-js is serving now. */
  bridgedCalls = 0;
}
