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
import type { DeltaGroup, QueuedDelta } from "./device_delta.ts";
import type { DeviceTable } from "./device_table.ts";
import type { PacketChains } from "./packet_chains.ts";

/** Deltas that are stored or discarded together: those of one session's stream, or of all streams without a session. */
export class FencingGroup implements DeltaGroup {
  /** What the group collected: one of each device. */
  readonly deltas: QueuedDelta[] = [];
  readonly #devices: DeviceTable;
  /** Those of devices of which another group has collected packets since, by number. */
  #displaced: Map<number, QueuedDelta> | undefined;

  /** An empty group of `batch`. */
  constructor(readonly batch: QueuedBatch) {
    this.#devices = batch.devices;
  }

  /** The delta of a device, which `DeviceTable.intern()` has just returned; made when it has none. */
  delta(device: number): QueuedDelta {
    const last = this.#devices.deltaOf(device);
    return last !== undefined && last.group === this ? last : this.#otherDelta(device, last);
  }

  /** See {@linkcode DeltaGroup}. */
  displaced(delta: QueuedDelta): void {
    (this.#displaced ??= new Map()).set(delta.device, delta);
  }

  #otherDelta(device: number, last: QueuedDelta | undefined): QueuedDelta {
    const { batch } = this;
    let delta;
    if (last !== undefined && last.group.batch === batch) {
      last.group.displaced(last);
      batch.shared.add(device);
      delta = this.#displaced?.get(device);
    }
    if (delta === undefined) {
      this.deltas.push(delta = this.#devices.newDelta(device, this));
      batch.deltaAdded();
    }
    this.#devices.setDelta(delta);
    return delta;
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
  /** Devices of which several groups have a delta, by number. */
  readonly shared = new Set<number>();
  readonly #withoutSession: FencingGroup;
  #generation: number | undefined;
  /** The table of devices was emptied meanwhile: two numbers may be of the same id. */
  #hasGenerations = false;

  /** Without packets. `devices`: the table of their devices; `chains`: keeps all packets, if they are to be kept. */
  constructor(readonly devices: DeviceTable, readonly chains?: PacketChains) {
    this.#withoutSession = new FencingGroup(this);
  }

  /** A group has its first packet of a device. */
  deltaAdded(): void {
    const { generation } = this.devices;
    this.deltas++;
    this.#generation ??= generation;
    if (generation !== this.#generation) this.#hasGenerations = true;
  }

  /** A new share for `owner`, which holds at most one in a batch. `from`: see {@linkcode StreamShare}. */
  share(owner: ShareOwner, from: number): StreamShare {
    const group = owner.claim === undefined ? this.#withoutSession : new FencingGroup(this);
    const share = new StreamShare(owner, group, from);
    if (this.shares.length === 0) this.openedAtMs = performance.now();
    this.shares.push(share);
    return share;
  }

  /** Settles or discards each share with its stream, and releases the deltas with the received bytes. */
  settle(): void {
    for (const share of this.shares) {
      const { deltas } = share.group;
      for (const delta of deltas) this.devices.release(delta);
      deltas.length = 0;
      if (share.fenced) share.owner.discard(share);
      else share.owner.settle(share);
    }
  }

  /** The store has refused these devices: their packets are rejected. Returns how many packets those are. */
  refuse(deviceIds: ReadonlySet<string>): number {
    let refused = 0;
    const groups = new Set(this.shares.filter(({ fenced }) => !fenced).map(({ group }) => group));
    for (const { deltas } of groups) {
      for (const delta of deltas) {
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
    const devices = this.#deltasOf(groups, about.receivedAtMs + DEVICE_CLOCK_AHEAD_MS);
    if (devices.length === 0 && sessions.length === 0) return undefined;
    return { ...about, devices, sessions, numbering: this.devices };
  }

  /** One of each device. Those that groups share are copied: the batch is merged again when a share is fenced. */
  #deltasOf(groups: Iterable<FencingGroup>, latestMs: number): DeviceDelta[] {
    const devices: DeviceDelta[] = [], merged = new Map<number | string, QueuedDelta>();
    const { shared } = this, hasGenerations = this.#hasGenerations;
    for (const { deltas } of groups) {
      for (const delta of deltas) {
        if (!hasGenerations && (shared.size === 0 || !shared.has(delta.device))) {
          devices.push(delta);
          continue;
        }
        const key = hasGenerations ? delta.deviceId : delta.device;
        const earlier = merged.get(key);
        if (earlier === undefined) {
          const copy = delta.copy();
          merged.set(key, copy);
          devices.push(copy);
        } else earlier.merge(delta, latestMs);
      }
    }
    return devices;
  }
}
