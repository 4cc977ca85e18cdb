/**
 * What all streams of an ingest process share.
 *
 * @module
 */
import { RequestError } from "../../protocol/request_error.ts";
import type { Accounts, StreamAccounts } from "../../limits/accounts.ts";
import type { Rates } from "../../limits/rate_meter.ts";
import type { Store } from "../../store/store.ts";
import type { ShareOwner } from "../batch/batch.ts";
import type { DeviceTable } from "../batch/device_table.ts";
import type { PacketQueue } from "../batch/queue.ts";
import type { IngestCounters } from "../counters.ts";
import type { CallContext } from "./call_context.ts";
import type { Reverts } from "./reverts.ts";

/** What others do with an open stream. */
export interface OpenStream extends Pick<ShareOwner, "claim" | "fence"> {
  /** Its peer and identity. */
  readonly context: Pick<CallContext, "peer" | "identity">;
  /** When it was opened, by `performance.now()`. */
  readonly openedAtMs: number;
  /** Ends the reading for `error`; what was read is stored first, then the call ends. */
  fail(error: unknown): void;
  /** Ends the call with `error` now, whatever is not settled: the device has to send it again. */
  abort(error: RequestError): void;
}

/** One object per process. */
export interface IngestState {
  /** Receives packets. */
  readonly queue: PacketQueue;
  /** Where sessions are claimed; packets reach it through the queue. */
  readonly store: Store;
  /** Devices that have sent packets. */
  readonly devices: DeviceTable;
  /** What was done so far. */
  readonly counters: IngestCounters;
  /** Counts and logs sessions of which the store holds less than before. */
  readonly reverts: Reverts;
  /** Every open stream. */
  readonly streams: Set<OpenStream>;
  /** Those of them that have not received a message, in the order in which they were opened. */
  readonly silentStreams: Set<OpenStream>;
  /** What addresses and identities have of the process. */
  readonly accounts: Accounts;
  /** The stream that owns each session, as far as this process knows. */
  readonly sessions: Map<string, OpenStream>;
  /** Limits of a packet, of rates, and of the numbers of streams and sessions. */
  readonly limits: Rates & {
    readonly maxPayloadBytes: number;
    readonly maxClockAheadMs: number;
    readonly maxStreams: number;
    /** Sessions in the store; 0 or undefined: no limit. */
    readonly maxSessions?: number;
  };
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** The process is shutting down: no new streams. */
  draining: boolean;
}

/** How long a stream may be open before one that sent nothing may have to make room, ms. */
const SILENT_MS = 10_000;

/**
 * Why no further stream can be opened now; undefined: one can.
 *
 * Where TALLY_MAX_STREAMS are open, the oldest stream that has not sent a message since it was opened, 10 s ago or
 * earlier, makes room: to hold a place takes packets, not just calls. A stream that has sent a packet keeps its place for
 * as long as it likes, however seldom its device sends.
 */
export function streamRefusal(ingest: IngestState, accounts: StreamAccounts): RequestError | undefined {
  const { draining, streams, limits, counters } = ingest;
  if (draining) return shuttingDown();
  const refusal = ingest.accounts.refusal(accounts);
  if (refusal === undefined && (streams.size < limits.maxStreams || evictSilent(ingest))) return undefined;
  counters.streamsRefused++;
  if (refusal !== undefined) return refusal;
  const found = `as many streams are open as TALLY_MAX_STREAMS (${limits.maxStreams}) allows`;
  return new RequestError("RESOURCE_EXHAUSTED", `${found}: try again later`);
}

function evictSilent({ silentStreams, counters, limits }: IngestState): boolean {
  for (const stream of silentStreams) {
    if (performance.now() - stream.openedAtMs < SILENT_MS) return false;
    counters.streamsRefused++;
    const found = `TALLY_MAX_STREAMS (${limits.maxStreams}) are open, and this one has sent nothing`;
    stream.abort(
      new RequestError("RESOURCE_EXHAUSTED", `${found}: open one when there is something to send`),
    );
    return true;
  }
  return false;
}

/** The error of calls that end, or are refused, because the process is shutting down. */
export function shuttingDown(): RequestError {
  return new RequestError("UNAVAILABLE", "shutting down: connect again");
}
