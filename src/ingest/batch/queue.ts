/**
 * The bounded queue between the streams and the writer.
 *
 * Streams put packets into the batch at its tail, where packets of one device melt into one
 * {@linkcode Delta}; the writer takes whole batches: `for await (const batch of queue)`. A batch is due
 * `flushIntervalMs` after its first packet, or as soon as it is large. The writer works on one batch at a
 * time, so at most two are in memory.
 *
 * Full means {@linkcode PacketQueue.full}: a stream then stops reading, HTTP/2 flow control holds its
 * device, and the stream is called when there is room again, first come, first served. Nothing is
 * dropped. One message may overshoot the bounds, so that a message larger than the queue can pass.
 *
 * @module
 */
import {
  type Batch as StoreBatch,
  DEVICE_CLOCK_AHEAD_MS,
  type DeviceDelta,
  type FencedSession,
  type SessionAdvance,
} from "../../store/packets.ts";
import type { Device } from "./device_table.ts";
import type { RejectReason } from "../../protocol/reject_reason.ts";

/** What a batch adds to one device; the payload stays where it was received until the batch is stored. */
export class Delta implements DeviceDelta {
  /** See {@linkcode DeviceDelta}. */
  packets = 0;
  /** See {@linkcode DeviceDelta}. */
  timestampMs: number = -1;
  #bytes: Uint8Array = noBytes;
  #start = 0;
  #end = 0;

  /** Of one device in one group. */
  constructor(readonly device: Device, readonly group: Group) {}

  /** See {@linkcode DeviceDelta}. */
  get deviceId(): string {
    return this.device.id;
  }

  /** See {@linkcode DeviceDelta}. */
  get payload(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  /**
   * Counts one packet, whose payload is `bytes[start, end)`; `bytes` must not change any more. A timestamp after
   * `latestMs` is wrong, and any packet after it replaces it.
   */
  add(timestampMs: number, bytes: Uint8Array, start: number, end: number, latestMs = Infinity): void {
    this.packets++;
    if (timestampMs >= this.timestampMs || this.timestampMs > latestMs) {
      this.timestampMs = timestampMs;
      this.#bytes = bytes;
      this.#start = start;
      this.#end = end;
    }
  }

  /** Counts what another group of the same batch collected for the same device, later than this. */
  merge(later: Delta, latestMs = Infinity): void {
    this.packets += later.packets;
    if (later.timestampMs >= this.timestampMs || this.timestampMs > latestMs) {
      this.timestampMs = later.timestampMs;
      this.#bytes = later.#bytes;
      this.#start = later.#start;
      this.#end = later.#end;
    }
  }
}

const noBytes = new Uint8Array(0);

/**
 * Deltas that are stored or left out together: those of one session's stream, since the store may find
 * it fenced; or those of all streams without a session.
 */
export class Group {
  /** What the group collected, by device. */
  readonly deltas = new Map<Device, Delta>();

  /** An empty group of `batch`. */
  constructor(readonly batch: PacketBatch) {}

  /** The delta of `device`, made when it has none. */
  delta(device: Device): Delta {
    const last = device.delta;
    if (last !== undefined && last.group === this) return last;
    let delta = this.deltas.get(device);
    if (delta === undefined) {
      this.deltas.set(device, delta = new Delta(device, this));
      this.batch.deltas++;
    }
    return device.delta = delta;
  }
}

/** What of a batch came from one stream. */
export class Section {
  /** Packets put into the group: stored when the batch is. */
  stored = 0;
  /** Packets the session had already. */
  duplicates = 0;
  /** Packets by reason; undefined while there are none. */
  rejections: Map<RejectReason, number> | undefined;
  /** End, in the stream's session, of what this section settles; `from` is its beginning. */
  to: number;
  /** See {@linkcode SectionOwner.fence}: nothing of this section may be stored. */
  fenced = false;

  /** An empty section that begins at `from`. */
  constructor(readonly owner: SectionOwner, readonly group: Group, readonly from: number) {
    this.to = from;
  }

  /** Counts a packet that is refused. */
  reject(reason: RejectReason): void {
    this.rejections ??= new Map();
    this.rejections.set(reason, (this.rejections.get(reason) ?? 0) + 1);
  }
}

/** The stream a section came from. */
export interface SectionOwner {
  /** Its session, if it has one, and the epoch under which it owns it. */
  readonly claim: { readonly session: string; readonly epoch: number } | undefined;
  /** The section is settled: what it counted is stored. */
  settle(section: Section): void;
  /** The section was fenced and is not stored. */
  leaveOut(section: Section): void;
  /** The session belongs to a newer stream now; or the store went back, and `found` is what it holds. */
  fence(found?: FencedSession): void;
}

/** Packets on their way to the store. */
export class PacketBatch {
  /** One per stream that put something in. */
  readonly sections: Section[] = [];
  /** Packets received, whatever becomes of them. */
  packets = 0;
  /** Bytes of the messages they came in. */
  bytes = 0;
  /** Devices of each group; one that is in several counts for each. */
  deltas = 0;
  readonly #shared = new Group(this);

  /** A new section for `owner`, which holds at most one in a batch. `from`: see {@linkcode Section}. */
  section(owner: SectionOwner, from: number): Section {
    const group = owner.claim === undefined ? this.#shared : new Group(this);
    const section = new Section(owner, group, from);
    this.sections.push(section);
    return section;
  }

  /** Tells the streams what became of their sections, and lets go of the received bytes. */
  settle(): void {
    for (const section of this.sections) {
      for (const delta of section.group.deltas.values()) {
        if (delta.device.delta === delta) delta.device.delta = undefined;
      }
      section.group.deltas.clear();
      if (section.fenced) section.owner.leaveOut(section);
      else section.owner.settle(section);
    }
  }

  /** What the store shall apply, without the fenced sections; undefined when that is nothing. */
  toStore(about: Omit<StoreBatch, "devices" | "sessions">): StoreBatch | undefined {
    const sessions: SessionAdvance[] = [];
    const groups = new Set<Group>();
    for (const { owner: { claim }, fenced, group, from, to } of this.sections) {
      if (fenced) continue;
      groups.add(group);
      if (claim !== undefined && to > from) {
        sessions.push({ session: claim.session, epoch: claim.epoch, from, to });
      }
    }
    const devices = mergedDeltas([...groups], about.receivedAtMs + DEVICE_CLOCK_AHEAD_MS);
    if (devices.length === 0 && sessions.length === 0) return undefined;
    return { ...about, devices, sessions };
  }
}

function mergedDeltas(groups: readonly Group[], latestMs: number): DeviceDelta[] {
  if (groups.length === 1) return [...groups[0]!.deltas.values()];
  const merged = new Map<Device, Delta>();
  for (const group of groups) {
    for (const [device, delta] of group.deltas) {
      const earlier = merged.get(device);
      if (earlier === undefined) {
        // A copy: the batch is merged anew when a section turns out to be fenced.
        const copy = new Delta(device, group);
        copy.merge(delta);
        merged.set(device, copy);
      } else earlier.merge(delta, latestMs);
    }
  }
  return [...merged.values()];
}

/** Bounds of a {@linkcode PacketQueue}. */
export interface QueueOptions {
  /** Packets that may wait for the writer. */
  readonly maxPackets: number;
  /** Bytes of messages that may wait for the writer. */
  readonly maxBytes: number;
  /** Devices with packets that may wait for the writer: those of one batch. */
  readonly maxDevices: number;
  /** With so many devices a batch is due, and grows only while the writer is busy with the one before. */
  readonly dueDevices: number;
  /** How long a packet waits, at most, for others to be stored with. */
  readonly flushIntervalMs: number;
}

/** See the module. One consumer only. */
export class PacketQueue implements AsyncIterable<PacketBatch> {
  #tail = new PacketBatch();
  readonly #waiting = new Set<() => void>();
  #closed = false;
  #due = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wakeWriter: (() => void) | undefined;

  /** An empty queue. */
  constructor(readonly options: QueueOptions) {}

  /** Packets waiting for the writer. */
  get packets(): number {
    return this.#tail.packets;
  }

  /** Bytes of messages waiting for the writer. */
  get bytes(): number {
    return this.#tail.bytes;
  }

  /** Streams waiting for room. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** No message may be put in now: wait with {@linkcode whenRoom}. Others that wait go first. */
  get full(): boolean {
    return this.#tailFull || (this.#waiting.size > 0 && !this.#handingOutRoom);
  }

  get #tailFull(): boolean {
    const { maxPackets, maxBytes, maxDevices } = this.options;
    const { packets, bytes, deltas } = this.#tail;
    return packets >= maxPackets || bytes >= maxBytes || deltas >= maxDevices;
  }

  #handingOutRoom = false;

  /**
   * When the queue is {@linkcode full}: calls `resume` once there is room, in the order of the calls; it
   * may fill the queue again.
   */
  whenRoom(resume: () => void): void {
    this.#waiting.add(resume);
  }

  /** `resume` needs no room any more. */
  forget(resume: () => void): void {
    this.#waiting.delete(resume);
  }

  /** The batch that packets go into now. Call {@linkcode added} after each message. */
  get tail(): PacketBatch {
    return this.#tail;
  }

  /** Weighs what a message of `bytes` bytes put into {@linkcode tail}: `packets` packets. */
  added(packets: number, bytes: number): void {
    const tail = this.#tail;
    tail.packets += packets;
    tail.bytes += bytes;
    if (this.#due) return;
    if (this.#tailFull || tail.deltas >= this.options.dueDevices) this.#setDue();
    else this.#timer ??= setTimeout(() => this.#setDue(), this.options.flushIntervalMs);
  }

  /** Ends the iteration after what was put in so far; nothing may be put in afterwards. */
  close(): void {
    this.#closed = true;
    this.#setDue();
  }

  /** Batches as they fall due, until {@linkcode close}. */
  async *[Symbol.asyncIterator](): AsyncGenerator<PacketBatch, void, undefined> {
    for (;;) {
      if (!this.#due) await new Promise<void>((resolve) => this.#wakeWriter = resolve);
      const batch = this.#tail;
      this.#tail = new PacketBatch();
      this.#due = this.#closed;
      // The writer gets the batch on its way first; room is handed out while the store works.
      if (this.#waiting.size > 0) setTimeout(() => this.#handOutRoom(), 0);
      if (batch.sections.length > 0) yield batch;
      else if (this.#closed) return;
    }
  }

  #setDue(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = true;
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
  }

  #handOutRoom(): void {
    this.#handingOutRoom = true;
    // Those that fill it up stand at the end of the line again.
    for (const resume of this.#waiting) {
      if (this.full) break;
      this.#waiting.delete(resume);
      resume();
    }
    this.#handingOutRoom = false;
  }
}
