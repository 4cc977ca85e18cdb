/**
 * What an ingest process has done since it started. Every packet received ends in exactly
 * one of `stored`, `duplicates`, `rejected` and `fenced`; the rest of `received` is on its way.
 *
 * @module
 */
import { Http2Counters } from "../http2/counters.ts";
import { RejectReason } from "../protocol/reject_reason.ts";

/** Counts since the process started. */
export class IngestCounters {
  /** Packets read from streams. */
  received = 0;
  /** Packets counted by the store. */
  stored = 0;
  /** Packets the session had already. */
  duplicates = 0;
  /** Packets refused, by reason. */
  readonly rejected = new Map<RejectReason, number>(allReasons.map((reason) => [reason, 0]));
  /** Packets left out because their session's next stream sends them again. */
  fenced = 0;
  /** Times the store was found to hold less of a session than it had acknowledged or stored. */
  sessionsReverted = 0;
  /** Acknowledged packets that the store did not hold any more when their session was claimed. */
  packetsLost = 0;
  /** Streams opened. */
  streams = 0;
  /** Of them, those that `fast_path.ts` serves. */
  fastPathCalls = 0;
  /** Of them, those that grpc-js serves, through `grpc_js_path.ts`. */
  ordinaryPathCalls = 0;
  /** Streams open now. */
  openStreams = 0;
  /** Times a stream had to wait for room in the queue. */
  queueFull = 0;
  /** What the connections did. */
  readonly http2: Http2Counters = new Http2Counters();
  /** Connections closed as soon as they were accepted, because as many as allowed were open. */
  connectionsRefused = 0;
  /** Batches applied. */
  flushes = 0;
  /** Attempts to apply a batch that failed and were repeated. */
  failedFlushes = 0;
}

const allReasons = Object.values(RejectReason).filter((reason) => typeof reason === "number");
