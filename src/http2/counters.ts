/**
 * What the connections of a process did that an operator should see.
 *
 * @module
 */

/** Counts since the process started, unless they say otherwise. */
export class Http2Counters {
  /** Connections closed for protocol errors, exceeded limits, too little progress or keepalive timeout. */
  connectionsCut = 0;
  /** Calls refused before they began: too many streams, too large headers, too many resets, draining. */
  callsRefused = 0;
  /** Streams reset here because of what the peer sent on them. */
  streamsReset = 0;
  /** Calls that grpc-js serves now. */
  bridgedCalls = 0;
  /** Reads that were interrupted so that other connections have their turn. */
  turnsYielded = 0;
}
