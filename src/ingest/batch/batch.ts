/**
 * Packets on their way to the store. A batch has a {@linkcode StreamShare} for each stream that contributed to it, and
 * coalesces packets into one {@linkcode QueuedDelta} per device. What a stream with a session contributed is a
 * {@linkcode FencingGroup} of its own, which can be discarded when the store finds the session fenced.
 *
 * @module
 */
import { RejectReason } from "../../protocol/reject_reason.ts";
import {
  type Batch as StoreBatch,
  DEVICE_CLOCK_AHEAD_MS,
  type DeviceDelta,
  type FencedSession,
  type SessionAdvance,
  type SessionShards,
} from "../../store/packets.ts";
import { type Device, QueuedDelta } from "./device_delta.ts";

/** Deltas that are stored or discarded together: those of one session's stream, or of all streams without a session. */
export class FencingGroup {
  /** What the group collected, by device. */
  readonly deltas = new Map<Device, QueuedDelta>();

  /** An empty group of `batch`. */
  constructor(readonly batch: QueuedBatch) {}

  /** The delta of `device`, made when it has none. */
  delta(device: Device): QueuedDelta {
    const last = device.delta;
    if (last !== undefined && last.group === this) return last;
    let delta = this.deltas.get(device);
    if (delta === undefined) {
      this.deltas.set(device, delta = new QueuedDelta(device, this));
      this.batch.deltaAdded(device);
    }
    return device.delta = delta;
  }
}

/** What one stream contributed to a batch. */
export class StreamShare {
  /** Packets added to the group: counted when the batch is stored. */
  stored = 0;
  /** Packets the session had already. */
  duplicates = 0;
  /** Packets rejected, by reason; undefined while there are none. */
  rejections: Map<RejectReason, number> | undefined;
  /** End offset, in the stream's session, of what this share settles; `from` is where it begins. */
  to: number;
  /** Nothing of this share may be stored; see {@linkcode ShareOwner.fence}. */
  fenced = false;

  /** An empty share that begins at `from`. */
  constructor(readonly owner: ShareOwner, readonly group: FencingGroup, readonly from: number) {
    this.to = from;
  }

  /** Packets received, whatever became of them. */
  get packets(): number {
    let packets = this.stored + this.duplicates;
    for (const rejected of this.rejections?.values() ?? []) packets += rejected;
    return packets;
  }

  /** Counts rejected packets. */
  reject(reason: RejectReason, packets = 1): void {
    this.rejections ??= new Map();
    this.rejections.set(reason, (this.rejections.get(reason) ?? 0) + packets);
  }

  /** The store refused a device: its packets, which were added to the group, are rejected. */
  refuse(packets: number): void {
    this.stored -= packets;
    this.reject(RejectReason.DEVICE_LIMIT, packets);
  }
}

/** The stream that contributed a share. */
export interface ShareOwner {
  /**
   * Its session and the epoch under which it owns it, and what shards of the store have of it; undefined before the
   * claim, and without a session.
   */
  readonly claim:
    | { readonly session: string; readonly epoch: number; readonly shards?: SessionShards | undefined }
    | undefined;
  /** The share is settled: what it counted is stored. */
  settle(share: StreamShare): void;
  /** The share was fenced and is not stored. */
  discard(share: StreamShare): void;
  /** The session belongs to a newer stream now; or the store went back, and `found` is what it holds. */
  fence(found?: FencedSession): void;
}

/** See the module. */
export class QueuedBatch {
  /** One per stream that contributed. */
  readonly shares: StreamShare[] = [];
  /** Packets received, whatever becomes of them. */
  packets = 0;
  /** Bytes of the messages that contained them. */
  bytes = 0;
  /** Devices of each group; one that is in several counts for each. */
  deltas = 0;
  /** When its first packet was added, on `performance.now`'s clock. */
  openedAtMs = 0;
  readonly #withoutSession = new FencingGroup(this);
  #generation: number | undefined;
  /** The table of devices was emptied meanwhile: two devices may have the same id. */
  #hasGenerations = false;

  /** A group has its first packet of `device`. */
  deltaAdded(device: Device): void {
    this.deltas++;
    this.#generation ??= device.generation;
    this.#hasGenerations ||= device.generation !== this.#generation;
  }

  /** A new share for `owner`, which holds at most one in a batch. `from`: see {@linkcode StreamShare}. */
  share(owner: ShareOwner, from: number): StreamShare {
    const group = owner.claim === undefined ? this.#withoutSession : new FencingGroup(this);
    const share = new StreamShare(owner, group, from);
    if (this.shares.length === 0) this.openedAtMs = performance.now();
    this.shares.push(share);
    return share;
  }

  /** Settles or discards each share with its stream, and releases the received bytes. */
  settle(): void {
    for (const share of this.shares) {
      for (const delta of share.group.deltas.values()) {
        if (delta.device.delta === delta) delta.device.delta = undefined;
      }
      share.group.deltas.clear();
      if (share.fenced) share.owner.discard(share);
      else share.owner.settle(share);
    }
  }

  /** The store has refused these devices: their packets are rejected. Returns how many packets those are. */
  refuse(deviceIds: ReadonlySet<string>): number {
    let refused = 0;
    const groups = new Set(this.shares.filter(({ fenced }) => !fenced).map(({ group }) => group));
    for (const { deltas } of groups) {
      for (const delta of deltas.values()) {
        if (!deviceIds.has(delta.deviceId)) continue;
        for (const [share, packets] of delta.contributions()) {
          (share as StreamShare).refuse(packets);
          refused += packets;
        }
      }
    }
    return refused;
  }

  /** The batch for the store, without the fenced shares; undefined when it is empty. */
  toStoreBatch(about: Omit<StoreBatch, "devices" | "sessions">): StoreBatch | undefined {
    const sessions: SessionAdvance[] = [];
    const groups = new Set<FencingGroup>();
    for (const { owner: { claim }, fenced, group, from, to } of this.shares) {
      if (fenced) continue;
      groups.add(group);
      if (claim !== undefined && to > from) {
        const { session, epoch, shards } = claim;
        sessions.push(
          shards === undefined
            ? { session, epoch, from, to }
            : { session, epoch, from, to, shards, deltas: group.deltas },
        );
      }
    }
    const latestMs = about.receivedAtMs + DEVICE_CLOCK_AHEAD_MS;
    const devices = this.#hasGenerations
      ? mergedDeltas([...groups], (device) => device.id, latestMs)
      : groups.size === 1
      ? [...groups.values().next().value!.deltas.values()]
      : mergedDeltas([...groups], (device) => device, latestMs);
    if (devices.length === 0 && sessions.length === 0) return undefined;
    return { ...about, devices, sessions };
  }
}

function mergedDeltas<Key>(
  groups: readonly FencingGroup[],
  keyOf: (device: Device) => Key,
  latestMs: number,
): DeviceDelta[] {
  const merged = new Map<Key, QueuedDelta>();
  for (const group of groups) {
    for (const [device, delta] of group.deltas) {
      const key = keyOf(device), earlier = merged.get(key);
      if (earlier === undefined) {
        // A copy: the batch is merged again when a share turns out to be fenced.
        const copy = new QueuedDelta(device, group);
        copy.merge(delta);
        merged.set(key, copy);
      } else earlier.merge(delta, latestMs);
    }
  }
  return [...merged.values()];
}
