/**
 * What all streams of an ingest process share.
 *
 * @module
 */
import type { RequestError } from "../../protocol/request_error.ts";
import type { FencedSession } from "../../store/packets.ts";
import type { Store } from "../../store/store.ts";
import type { DeviceTable } from "../batch/device_table.ts";
import type { PacketQueue } from "../batch/queue.ts";
import type { IngestCounters } from "../counters.ts";
import type { Reverts } from "./reverts.ts";

/** What others do with an open stream. */
export interface OpenStream {
  /** The epoch under which it owns its session; undefined before the claim, and without a session. */
  readonly claim: { readonly session: string; readonly epoch: number } | undefined;
  /** Ends the reading for `error`; what was read is stored first, then the call ends. */
  fail(error: unknown): void;
  /** Ends the call with `error` now, whatever is not settled: the device has to send it again. */
  abort(error: RequestError): void;
  /** Its session belongs to a newer stream now; or the store went back, and `found` is what it holds. */
  fence(found?: FencedSession): void;
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
