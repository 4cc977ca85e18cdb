/**
 * What Tally asks of storage. `redis_store.ts` and `sqlite_store.ts` implement it and pass the same tests
 * (`tests/contracts/store_contract.ts`).
 *
 * Every method rejects with {@linkcode StoreError} when the store cannot be reached, refuses, or does
 * not answer in time. After a rejected {@linkcode Store.apply} it is unknown whether the batch was
 * applied; calling it again with the same batch is always right.
 *
 * @module
 */
import type { InstanceReport } from "../metrics/ingest_metrics.ts";

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
  /**
   * Sequence of the producer's batch that was applied last; 0: none was, or so long ago that it may have expired.
   * A store that does not hold it any more went back: it was emptied, or put back to an earlier state.
   */
  readonly previous: number;
  /** When the packets were received, server time, Unix milliseconds: the devices' last seen. */
  readonly receivedAtMs: number;
  /** Each device at most once. May be empty when only sessions advance. */
  readonly devices: readonly DeviceDelta[];
  /** Each session at most once. */
  readonly sessions: readonly SessionAdvance[];
}

/** A session of a batch whose stream may not go on. */
export interface FencedSession {
  /** As its client named it. */
  readonly session: string;
  /**
   * "superseded": a newer stream claimed it. "reverted": the store holds less of it than it did, because it was
   * emptied or put back to an earlier state, or has forgotten it; or it holds another offset of the same epoch.
   * Offset and counts move in one step, so packets from {@linkcode FencedSession.committed} on are not counted:
   * the client goes on from there.
   */
  readonly kind: "superseded" | "reverted";
  /**
   * Packets settled of it. Of a session that is missing: 0, or, if the producer's last batch is still there, the
   * offset the batch expected, for the session alone was forgotten and its packets were not; if
   * there is such a batch, the session is written again.
   */
  readonly committed: number;
}

/**
 * Sessions of the batch that are not as its streams left them: another epoch, or not the committed offset `from`.
 * Empty: the batch is applied, now or before. Otherwise *nothing* of it was applied, and its sequence is still
 * free.
 */
export type FencedSessions = readonly FencedSession[];

/** Answer to a claim. */
export interface SessionClaim {
  /** Greater than that of any claim before, also of claims that the store does not hold any more. */
  readonly epoch: number;
  /** Packets of the session settled so far; not less than the offset stated. */
  readonly committed: number;
  /**
   * Packets that the client took for settled and the store does not hold: it went back, and they are gone. Of an
   * unknown session all before the offset, if the data is so young that the session cannot have expired.
   */
  readonly lost: number;
}

/** How safe a batch or a claim must be before {@linkcode Store.apply} or {@linkcode Store.claimSession} resolves. */
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

/** What is known about one device, but its payload and history. Times are Unix milliseconds. */
export interface DeviceSummary extends DeviceCount {
  /** Server time at which its first packet was received; 0 if another program alone counted it. */
  readonly firstSeenMs: number;
  /** Server time at which its latest packet was received; 0 as above. */
  readonly lastSeenMs: number;
  /**
   * Greatest timestamp the device gave, apart from those more than {@linkcode DEVICE_CLOCK_AHEAD_MS} ahead of
   * their arrival, which any later packet replaces; 0 as above.
   */
  readonly timestampMs: number;
  /** False from the "offline" event to the "online" event; true before the first one. */
  readonly online: boolean;
}

/** A summary and the payload that came with the greatest timestamp. */
export interface DeviceState extends DeviceSummary {
  /** As it was received. */
  readonly payload: Uint8Array;
}

/** The beginning of a payload. */
export interface PayloadPreview {
  /** Its first bytes. */
  readonly bytes: Uint8Array;
  /** Length of the whole payload. */
  readonly totalBytes: number;
}

/** Packets received in one second, minute or hour. */
export interface Period {
  /** When it begins, Unix milliseconds. */
  readonly startMs: number;
  /** Packets counted in it. */
  readonly packets: number;
}

/** Packets over time, oldest first, without gaps; the last period of each list is the one going on. */
export interface History {
  /** {@linkcode HISTORY_MINUTES} of them. */
  readonly minutes: readonly Period[];
  /** {@linkcode HISTORY_HOURS} of them. */
  readonly hours: readonly Period[];
}

/** Packets of all devices over time. */
export interface FleetHistory extends History {
  /** {@linkcode HISTORY_SECONDS} of them. */
  readonly seconds: readonly Period[];
}

/** Which devices changed. */
export interface Changes {
  /**
   * The store's version now: it rises with every change of a device, and is never used twice, not even by a store
   * that was emptied or put back to an earlier state, as long as its clock does not go back too.
   */
  readonly version: number;
  /**
   * Devices applied, removed or marked offline after the version asked for, by id, and what they have
   * become by `version`; undefined: {@linkcode Store.summaries} tells. "all": the version asked for lies too
   * far back, or the store went back to a state before it, and only a {@linkcode Store.scan} tells.
   */
  readonly devices: ReadonlyMap<string, DeviceSummary | undefined> | "all";
}

/** A device fell silent or came back. */
export interface DeviceEvent {
  /** One more than the event before it. */
  readonly id: number;
  /** What the device is since. */
  readonly kind: "online" | "offline";
  /** Whose event it is. */
  readonly deviceId: string;
  /** When it was noticed, server time, Unix milliseconds. */
  readonly atMs: number;
  /** When the last packet before the event was received, server time, Unix milliseconds. */
  readonly lastSeenMs: number;
}

/** What a store reports of itself. */
export interface StoreStatus {
  /** Its own clock, Unix milliseconds; undefined: the machine's that runs this. */
  readonly clockMs: number | undefined;
  /** What it evicts when its memory is full; undefined if nothing, or if that cannot be read. */
  readonly evictionPolicy: string | undefined;
}

/** Where counts live. */
export interface Store {
  /** One line for the start-up log: which store this is and where. Holds no credentials. */
  readonly description: string;

  /** Resolves when the store answers and can be written to. */
  ping(): Promise<void>;

  /** What the store reports of itself, its clock at the moment of the call. */
  status(): Promise<StoreStatus>;

  /**
   * Makes the caller the only writer of `session`: raises its epoch, so that an older stream's
   * batches are fenced from now on. Resolves when the claim is as safe as {@linkcode AckAfter} requires. An unknown session
   * starts at `offset`. A known one moves up to it: a client states no more than was acknowledged, so the store went
   * back, and the packets between are gone. Sessions unused for `SESSION_EXPIRY_MS` are forgotten.
   */
  claimSession(session: string, offset: number, nowMs: number): Promise<SessionClaim>;

  /** Applies a batch; see {@linkcode Batch} and {@linkcode FencedSessions}. One call at a time per producer. */
  apply(batch: Batch): Promise<FencedSessions>;

  /** Every device, in pages; bounded work per page, no device twice, order unspecified. */
  scan(): AsyncIterable<readonly DeviceSummary[]>;

  /** The devices of these ids, at most {@linkcode MAX_IDS_PER_CALL}, in any order; unknown ones are left out. */
  summaries(deviceIds: readonly string[]): Promise<readonly DeviceSummary[]>;

  /**
   * What changed after `since`, which an earlier call returned. To know every device: take the version
   * first (without `since`, which gives "all"), then scan, then ask for what changed.
   */
  changes(since?: number): Promise<Changes>;

  /** One device, or undefined if it was never seen. */
  device(deviceId: string): Promise<DeviceState | undefined>;

  /** The first `maxBytes` bytes of each device's payload, at most {@linkcode MAX_IDS_PER_CALL}; unknown ones are left out. */
  payloads(deviceIds: readonly string[], maxBytes: number): Promise<ReadonlyMap<string, PayloadPreview>>;

  /**
   * Packets of one device up to `nowMs`, or to its last packet if that is later; undefined if it was never
   * seen. A packet counts when its batch was received, but never before one counted already.
   */
  history(deviceId: string, nowMs: number): Promise<History | undefined>;

  /** Packets of all devices up to `nowMs`, removed ones included; each counts when its batch was received. */
  fleetHistory(nowMs: number): Promise<FleetHistory>;

  /** Packets that were counted of devices removed since, each as of its removal. */
  removedPackets(): Promise<number>;

  /**
   * Forgets what the fleet's history holds of periods that begin after `untilMs`: the clock was set back, and what
   * is received from now on would be added to what was counted there before.
   */
  trimFleetHistory(untilMs: number): Promise<void>;

  /** Forgets a device; true if it was known. Its next packet starts it anew. */
  remove(deviceId: string): Promise<boolean>;

  /**
   * Marks those of the devices offline, at most {@linkcode MAX_IDS_PER_CALL}, that are online and were
   * last seen before `lastSeenBeforeMs`, and writes an event for each; resolves to how many they were.
   * Each device goes offline once, however many ask for it. A batch received later than its last seen
   * brings it back, with an event.
   */
  markOffline(deviceIds: readonly string[], lastSeenBeforeMs: number, nowMs: number): Promise<number>;

  /**
   * Up to `limit` events after the one with id `after`, oldest first; 0 begins with the oldest kept, and
   * undefined asks for the newest. The newest {@linkcode EVENTS_KEPT} are kept: when the first id is
   * not `after + 1`, those between are gone.
   */
  events(after: number | undefined, limit: number): Promise<readonly DeviceEvent[]>;

  /**
   * Makes `owner` the only one to deliver events for `ttlMs`, or for `ttlMs` more. Resolves to the id of
   * the last event delivered, or undefined when another owner is at it. The first owner ever begins
   * after the events there are, or one before the first.
   */
  claimDelivery(owner: string, ttlMs: number, nowMs: number): Promise<number | undefined>;

  /** Events up to `eventId` are delivered. False, and nothing changes, when `owner` is not the one any more. */
  commitDelivery(owner: string, eventId: number, nowMs: number): Promise<boolean>;

  /** Publishes what an ingest process says of itself, in place of what it said before. */
  reportInstance(report: InstanceReport): Promise<void>;

  /** Takes back what an instance reported. */
  removeInstance(instance: string): Promise<void>;

  /** The reports that are not older than {@linkcode INSTANCE_EXPIRY_MS}, by host, address and worker. */
  instances(nowMs: number): Promise<readonly InstanceReport[]>;

  /** Releases connections and files. Calls under way may reject. */
  close(): Promise<void>;
}

/** A time that lies further ahead of the store's clock was written before that clock was set back. */
export const CLOCK_AHEAD_MS = 5_000;

/** A device's timestamp that lies further ahead of its arrival is wrong: the next packet's counts, whatever it is. */
export const DEVICE_CLOCK_AHEAD_MS = 60_000;

/** Sessions unused for a week are forgotten. */
export const SESSION_EXPIRY_MS = 7 * 24 * 3_600_000;

/** A producer's last sequence is kept this long; only a batch resent later than that could count twice. */
export const PRODUCER_EXPIRY_MS = 7 * 24 * 3_600_000;

/** Devices that may be asked for in one call: some milliseconds of the store's time. */
export const MAX_IDS_PER_CALL = 1000;

/** Periods of each kind that a history shows, the one going on included: 15 minutes, an hour, a day. */
export const HISTORY_SECONDS = 900, HISTORY_MINUTES = 60, HISTORY_HOURS = 24;

/** Events kept; older ones are dropped. */
export const EVENTS_KEPT = 10_000;

/**
 * Bytes kept for {@linkcode Store.changes}: in Redis, which keeps summaries beside the ids, 2.7 seconds of
 * 100,000 devices a second with ids of 12 bytes; in SQLite 11. A reader that asks later than that scans.
 */
export const CHANGES_MAX_BYTES = 16 * 2 ** 20;

/** An instance that has not reported for so long is gone. */
export const INSTANCE_EXPIRY_MS = 10_000;
