/**
 * What all streams of an ingest process share.
 *
 * @module
 */
import type { DeviceIdentity } from "../../identity/identity.ts";
import { RequestError } from "../../protocol/request_error.ts";
import type { Store } from "../../store/store.ts";
import type { ShareOwner } from "../batch/batch.ts";
import type { DeviceTable } from "../batch/device_table.ts";
import type { PacketQueue } from "../batch/queue.ts";
import type { IngestCounters } from "../counters.ts";
import type { Reverts } from "./reverts.ts";

/** What others do with an open stream. */
export interface OpenStream extends Pick<ShareOwner, "claim" | "fence"> {
  /** Of its call. */
  readonly context: { readonly identity: DeviceIdentity };
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
  /** The stream that owns each session, as far as this process knows. */
  readonly sessions: Map<string, OpenStream>;
  /** Limits of a packet, and of the number of streams. */
  readonly limits: {
    readonly maxPayloadBytes: number;
    readonly maxClockAheadMs: number;
    readonly maxStreams: number;
  };
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** The process is shutting down: no new streams. */
  draining: boolean;
}

/** Why no further stream can be opened now; undefined: one can. */
export function streamRefusal({ draining, streams, limits }: IngestState): RequestError | undefined {
  if (draining) return shuttingDown();
  if (streams.size < limits.maxStreams) return undefined;
  const found = `the limit of ${limits.maxStreams} open streams is reached`;
  return new RequestError("RESOURCE_EXHAUSTED", `${found}: try again later`);
}

/** The error of calls that end, or are refused, because the process is shutting down. */
export function shuttingDown(): RequestError {
  return new RequestError("UNAVAILABLE", "shutting down: connect again");
}
