/**
 * How packets enter a store: a batch is applied once, in one step with the sessions it advances.
 *
 * @module
 */

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
  /** Number of the device in {@linkcode Batch.numbering}, if the batch has one. */
  readonly device?: number;
  /** The same id and payload, for a store that packs them; default: they are to be packed from the above. */
  readonly bytes?: DeltaBytes;
  /** All its packets, for {@linkcode Batch.packetStream}; default: they are not kept. */
  readonly kept?: DeltaPackets | undefined;
}

/** All packets of a {@linkcode DeviceDelta}, each as a field of a `PacketBatch` of the proto, in their order. */
export interface DeltaPackets {
  /** Bytes of all. */
  readonly keptBytes: number;
  /** What denotes the first. */
  readonly first: number;
  /** What denotes the one after `packet`; -1: that is the last. */
  next(packet: number): number;
  /** Length of one. */
  bytesOf(packet: number): number;
  /** Writes one to `target`, from `at` on; returns its end. */
  write(packet: number, target: Uint8Array, at: number): number;
}

/** The bytes of a {@linkcode DeviceDelta} that can be packed without a string and a view for each device. */
export interface DeltaBytes {
  /** Length of the id in UTF-8. */
  readonly idBytes: number;
  /** Length of the payload. */
  readonly payloadBytes: number;
  /** Writes the id to `target`, from `at` on. */
  writeId(target: Uint8Array, at: number): void;
  /** Writes the payload to `target`, from `at` on. */
  writePayload(target: Uint8Array, at: number): void;
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
  /** As the claim returned them, if it did. */
  readonly shards?: SessionShards | undefined;
  /** Of a session with {@linkcode SessionAdvance.shards}: the devices of the batch with packets of it; default: all. */
  readonly deltas?: readonly Pick<DeviceDelta, "deviceId" | "bytes">[] | undefined;
}

/**
 * How far the shards of a store have one session. A batch is applied to each shard in a step of its own, and the
 * session's committed offset moves last, so a shard may have packets after it.
 */
export interface SessionShards {
  /** No shard had packets from here on when the session was claimed. */
  readonly end: number;
  /** Packets of this device before it are stored, also those from the committed offset on. */
  offsetOf(deviceId: string): number;
}

/** How many devices a batch may add to the store. Devices that the store has are never refused. */
export interface DeviceLimits {
  /** Devices in the store. */
  readonly maxDevices: number;
  /** Devices that all producers add in one minute of {@linkcode Batch.receivedAtMs}. */
  readonly maxNewPerMinute: number;
}

/** What of a batch goes into the packet stream: {@linkcode DeviceDelta.kept} of each of its devices. */
export interface PacketStreamPart {
  /** Entries that the stream keeps, about: the oldest are removed. At least 1. */
  readonly maxEntries: number;
  /** The same as `packEntries()` packs it; default: it is to be packed from the devices. */
  readonly entries?: Uint8Array;
}

/** One flush. Applied in one atomic step, once, however often it is sent. */
export interface Batch {
  /** Unique to one writer in one run of one process. */
  readonly producer: string;
  /** 1, 2, 3, … per producer. A sequence at or below the last one applied was applied already. */
  readonly sequence: number;
  /**
   * Sequence of the producer's batch that was applied last; 0: none was, or so long ago that it may have expired.
   * A store that no longer holds it was emptied, or reverted to an earlier state.
   */
  readonly previous: number;
  /** When the packets were received, server time, Unix milliseconds: the devices' last seen. */
  readonly receivedAtMs: number;
  /**
   * Each device at most once. May be empty when only sessions advance. To be read before {@linkcode PacketStore.apply}
   * resolves: the producer uses the objects again.
   */
  readonly devices: readonly DeviceDelta[];
  /** Each session at most once. */
  readonly sessions: readonly SessionAdvance[];
  /** Default: none. */
  readonly deviceLimits?: DeviceLimits;
  /** Its packets are appended to the packet stream, see `packet_stream.ts`. Default: they are not. */
  readonly packetStream?: PacketStreamPart;
  /**
   * What numbers the devices, from 0 on, in all batches that name it: each has the same number in all of them, which no
   * other device ever gets. It saves a store a look-up by id. Default: they are not numbered.
   */
  readonly numbering?: object;
}

/** A session of a batch whose stream is fenced: it may not continue. */
export interface FencedSession {
  /** As its client named it. */
  readonly session: string;
  /**
   * "superseded": a newer stream claimed it. "reverted": the store holds less of it than it did, because it was
   * emptied, reverted to an earlier state, or lost the session alone; or it holds another offset of the same epoch.
   * Offset and counts move in one step, so packets from {@linkcode FencedSession.committed} on are not counted:
   * the client continues from there.
   */
  readonly kind: "superseded" | "reverted";
  /**
   * Packets settled of it. Of a session that is missing: 0, or, if the producer's last batch is still there, the
   * offset the batch expected, because the session alone was lost and its packets were not; the session is
   * then written again.
   */
  readonly committed: number;
}

/** A device of a batch that was new to the store and above a limit: nothing of it is stored, the rest of the batch is. */
export interface RefusedDevice {
  /** Distinguishes it from a {@linkcode FencedSession}. */
  readonly kind: "refused";
  /** See {@linkcode DeviceDelta}. */
  readonly deviceId: string;
  /** The limit that was reached. */
  readonly limit: keyof DeviceLimits;
}

/**
 * What of a batch was not applied. Empty: it is applied, now or before.
 *
 * - Sessions that are not as its streams left them: another epoch, or not the committed offset `from`. Then *nothing*
 *   of the batch was applied, and its sequence is still free.
 * - Otherwise devices that its {@linkcode DeviceLimits} refuse: the first that are new get the room there is. The rest
 *   of the batch is applied, sessions included. The store keeps with the producer's sequence which they were: a batch
 *   that is sent again gets the same reply.
 */
export type Unapplied = readonly (FencedSession | RefusedDevice)[];

/** How many sessions a claim may add to the store. A session that the store has is never refused. */
export interface SessionLimits {
  /** Sessions in the store. It may count some that have expired, for a while. */
  readonly maxSessions: number;
  /** False: none. */
  readonly mayCreate: boolean;
}

/** What a client can send again of a session, if the store was reverted or emptied. */
export interface Resendable {
  /** Index of the oldest packet that it still has; not above the stated offset. */
  readonly oldest: number;
  /** Of the claim under which its latest packets were acknowledged. */
  readonly epoch: number;
  /**
   * False: the store does not see all batches, being one of several shards, so that its data may be older than the claim
   * although nothing was lost. Default: true.
   */
  readonly seesAllBatches?: boolean;
}

/** Packets that are stored and not counted yet. */
export interface DeferredAmount {
  /** How many. */
  readonly packets: number;
  /** What they take in the store. */
  readonly bytes: number;
}

/** Result of a claim. */
export interface SessionClaim {
  /** Greater than that of every earlier claim, also of claims that the store no longer holds. */
  readonly epoch: number;
  /** Packets of the session settled so far; not less than the offset stated, or than {@linkcode Resendable.oldest}. */
  readonly committed: number;
  /**
   * Packets that were acknowledged to the client and that the store no longer holds, because it was reverted to an
   * earlier state; those that the client sends again are not among them. Of an unknown session: all before the offset,
   * if the data is too young for the session to have expired.
   */
  readonly lost: number;
  /** The store did not have the session. */
  readonly isNew: boolean;
  /**
   * The session is new, and this limit refused it; or "epoch": a later claim has it. Nothing was written, and the
   * numbers are 0.
   */
  readonly refused?: keyof SessionLimits | "epoch" | undefined;
  /** Of a store of several shards: a batch must not have packets that a shard has, see {@linkcode SessionShards}. */
  readonly shards?: SessionShards | undefined;
}

/** Durability required before {@linkcode PacketStore.apply} or {@linkcode PacketStore.claimSession} resolves. */
export type AckAfter =
  /** In the store: survives a crash of Tally, and whatever the store itself survives. */
  | { readonly kind: "stored" }
  /** Also on so many Redis replicas. */
  | { readonly kind: "replicated"; readonly replicas: number }
  /** On the store's disk: survives a power cut. */
  | { readonly kind: "synced" };

/** Claims of sessions, and batches of packets. */
export interface PacketStore {
  /**
   * Makes the caller the only writer of `session`: raises its epoch, which fences batches of older streams.
   * Resolves when the claim is as durable as {@linkcode AckAfter} requires. An unknown session starts at `offset`.
   * A known one moves up to it: a client states no more than was acknowledged, so the store was reverted, and the
   * packets between are lost. Sessions are deleted {@linkcode SESSION_EXPIRY_MS} after a batch advanced them last;
   * those that none has advanced, {@linkcode NEW_SESSION_EXPIRY_MS} after their first claim.
   *
   * `continues`: an unknown session starts where the session of that name is, if there is one. That one stays where it
   * is, and its streams are fenced. `limits`: default none. `epoch`: the session gets this one, which another store has
   * given to it; refused if it has a greater one.
   *
   * `resendable`: a session of which the store holds less than `offset` moves up to {@linkcode Resendable.oldest} only,
   * and an unknown one starts there, if the store lost it: its data began, or was found reverted, after the client's
   * claim, or is older than that. Otherwise it may have expired or been evicted, and what it counted is still there.
   */
  claimSession(
    session: string,
    offset: number,
    nowMs: number,
    continues?: string,
    limits?: SessionLimits,
    epoch?: number,
    resendable?: Resendable,
  ): Promise<SessionClaim>;

  /** Applies a batch; see {@linkcode Batch} and {@linkcode Unapplied}. One call at a time per producer. */
  apply(batch: Batch): Promise<Unapplied>;

  /** What this process applied that is stored, but is not in the counts of its devices yet; default: always nothing. */
  deferred?(): DeferredAmount;
}

/** A device's timestamp further ahead of its arrival is wrong: that of the next packet replaces it, even if smaller. */
export const DEVICE_CLOCK_AHEAD_MS = 60_000;

/** Sessions unused for a week are deleted. */
export const SESSION_EXPIRY_MS = 7 * 24 * 3_600_000;

/** Sessions of which nothing was ever stored are deleted so soon: whoever resets streams leaves no more than these. */
export const NEW_SESSION_EXPIRY_MS = 10 * 60_000;

/** A producer's last sequence is kept this long; only a batch resent later than that could count twice. */
export const PRODUCER_EXPIRY_MS = 7 * 24 * 3_600_000;

/**
 * Devices of a batch from which on its packets are counted later, by default: Redis needs some 40 ms for as many, a file
 * some 20 ms, in which more come.
 */
export const DEFER_FROM = 4000;
