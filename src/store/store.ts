/**
 * What Tally asks of storage. `redis.ts` and `sqlite.ts` implement it and pass the same tests
 * (`tests/store_contract.ts`).
 *
 * Every method rejects with {@linkcode StoreError} when the store cannot be reached, refuses, or does
 * not answer in time. After a rejected {@linkcode Store.apply} it is unknown whether the batch was
 * applied; calling it again with the same batch is always right.
 *
 * @module
 */

/** The store could not do what it was asked; `message` says what was attempted and what was found. */
export class StoreError extends Error {
  /** The name of the class. */
  override readonly name = "StoreError";
}

/** What one batch adds to one device. */
export interface DeviceDelta {
  /** 1 to 128 bytes of UTF-8. */
  readonly deviceId: string;
  /** Packets to add to the device's count, at least 1. */
  readonly packets: number;
  /** Greatest timestamp among them, Unix milliseconds, an integer. */
  readonly timestampMs: number;
  /** Payload of the packet with that timestamp; the later arrival among equals. */
  readonly payload: Uint8Array;
}

/** The part of a session that one batch settles: packets `from` (inclusive) to `to` (exclusive). */
export interface SessionAdvance {
  /** As its client named it. */
  readonly session: string;
  /** The epoch the stream was given when it claimed the session. */
  readonly epoch: number;
  /** The committed offset it must have. */
  readonly from: number;
  /** The committed offset it gets. */
  readonly to: number;
}

/** One flush. Applied in one atomic step, once, however often it is sent. */
export interface Batch {
  /** Unique to one writer in one run of one process. */
  readonly producer: string;
  /** 1, 2, 3, … per producer. A sequence at or below the last one applied was applied already. */
  readonly sequence: number;
  /** When the packets were received, server time, Unix milliseconds: the devices' last seen. */
  readonly receivedAtMs: number;
  /** Each device at most once. May be empty when only sessions advance. */
  readonly devices: readonly DeviceDelta[];
  /** Each session at most once. */
  readonly sessions: readonly SessionAdvance[];
}

/**
 * Sessions of the batch that its streams no longer own: the epoch is not the current one, or the
 * committed offset is not `from`. Empty: the batch is applied, now or before. Otherwise *nothing* of
 * it was applied, and its sequence is still free.
 */
export type FencedSessions = readonly string[];

/** Answer to a claim. `committed`: packets of the session settled so far. */
export type SessionClaim =
  | { readonly outcome: "claimed"; readonly epoch: number; readonly committed: number }
  /** The offset lies above `committed`: packets are missing. Nothing was changed. */
  | { readonly outcome: "gap"; readonly committed: number };

/** How safe a batch must be before {@linkcode Store.apply} resolves. */
export type AckAfter =
  /** The store has it: survives the end of Tally, and what the store itself survives. */
  | { readonly kind: "stored" }
  /** So many Redis replicas have it too. */
  | { readonly kind: "replicated"; readonly replicas: number }
  /** It is on the store's disk: survives a power cut. */
  | { readonly kind: "synced" };

/** Packets counted for one device. */
export interface DeviceCount {
  /** 1 to 128 bytes of UTF-8. */
  readonly deviceId: string;
  /** Packets counted since it was first seen. */
  readonly count: number;
}

/** All that is known about one device. Times are Unix milliseconds. */
export interface DeviceState extends DeviceCount {
  /** Server time at which its first packet was received. */
  readonly firstSeenMs: number;
  /** Server time at which its latest packet was received. */
  readonly lastSeenMs: number;
  /** Greatest timestamp the device gave. */
  readonly timestampMs: number;
  /** Payload that came with that timestamp. */
  readonly payload: Uint8Array;
}

/** Where counts live. */
export interface Store {
  /** One line for the start-up log: which store this is and where. Holds no credentials. */
  readonly description: string;

  /** Resolves when the store answers and may be written to. */
  ping(): Promise<void>;

  /**
   * Makes the caller the only writer of `session`: raises its epoch, so that an older stream's
   * batches are fenced from now on. An unknown session is believed: `offset` becomes its committed
   * offset. Sessions unused for `SESSION_EXPIRY_MS` are forgotten.
   */
  claimSession(session: string, offset: number, nowMs: number): Promise<SessionClaim>;

  /** Applies a batch; see {@linkcode Batch} and {@linkcode FencedSessions}. One call at a time per producer. */
  apply(batch: Batch): Promise<FencedSessions>;

  /** Every device's count, in pages; bounded work per page, no device twice, order unspecified. */
  counts(): AsyncIterable<readonly DeviceCount[]>;

  /** One device, or undefined if it was never seen. */
  device(deviceId: string): Promise<DeviceState | undefined>;

  /** Forgets a device; true if it was known. Its next packet starts it anew. */
  remove(deviceId: string): Promise<boolean>;

  /** Releases connections and files. Calls under way may reject. */
  close(): Promise<void>;
}

/** Sessions unused for a week are forgotten. */
export const SESSION_EXPIRY_MS = 7 * 24 * 3_600_000;

/** A producer's last sequence is kept this long; only a batch resent later than that could count twice. */
export const PRODUCER_EXPIRY_MS = 7 * 24 * 3_600_000;
