/**
 * What a batch adds to a device.
 *
 * @module
 */
import type { DeltaBytes, DeviceDelta } from "../../store/packets.ts";

/** What deltas belong to: a `FencingGroup`. */
export interface DeltaGroup {
  /** The batch that it is a part of. */
  readonly batch: object;
  /** Another group of the batch collects packets of the delta's device now. */
  displaced(delta: QueuedDelta): void;
}

/** What keeps the ids as strings: a `DeviceTable`. */
export interface DeviceIds {
  /** The id of the delta's device. */
  idOf(delta: QueuedDelta): string;
}

const noBytes = new Uint8Array(0);
const noGroup: DeltaGroup = { batch: {}, displaced: () => {} };

/**
 * What one group of a batch adds to one device: the packets are coalesced as they arrive. The payload stays in the
 * message it was received in until the batch is stored. Once it is, the object is used for another device: objects that
 * live as long as a batch are what the garbage collector is slowest with.
 */
export class QueuedDelta implements DeviceDelta, DeltaBytes {
  /** Of the device, in the `DeviceTable`. */
  device = 0;
  /** What it belongs to. */
  group: DeltaGroup = noGroup;
  /** See {@linkcode DeviceDelta}. */
  packets = 0;
  /** See {@linkcode DeviceDelta}. */
  timestampMs: number = -1;
  /** Has the length of the id at `#idStart`, and then the id. */
  #idSource: Uint8Array = noBytes;
  #idStart = 0;
  #bytes: Uint8Array = noBytes;
  #start = 0;
  #end = 0;
  /** The share that the last packet belongs to, and how many there were before those that it contributed last. */
  #share: object | undefined;
  #packetsBefore = 0;
  /** Packets of shares, where there are several and without those that were contributed last: few devices have that. */
  #earlier: Map<object, number> | undefined;

  /** Of no device yet. */
  constructor(readonly ids: DeviceIds) {}

  /** Begins with nothing; the length of the id is at `idSource[idStart]`, and the id follows it. */
  begin(device: number, group: DeltaGroup, idSource: Uint8Array, idStart: number): void {
    this.device = device;
    this.group = group;
    this.#idSource = idSource;
    this.#idStart = idStart;
  }

  /** Releases what it refers to. */
  clear(): void {
    this.group = noGroup;
    this.packets = 0;
    this.timestampMs = -1;
    this.#idSource = this.#bytes = noBytes;
    this.#idStart =
      this.#start =
      this.#end =
      this.#packetsBefore =
        0;
    this.#share = this.#earlier = undefined;
  }

  /** See {@linkcode DeviceDelta}. */
  get deviceId(): string {
    return this.ids.idOf(this);
  }

  /** The UTF-8 of {@linkcode deviceId}. */
  get idView(): Uint8Array {
    return this.#idSource.subarray(this.#idStart + 1, this.#idStart + 1 + this.idBytes);
  }

  /** See {@linkcode DeviceDelta}. */
  get payload(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  /** See {@linkcode DeviceDelta}. */
  get bytes(): DeltaBytes {
    return this;
  }

  /** See {@linkcode DeltaBytes}. */
  get idBytes(): number {
    return this.#idSource[this.#idStart]!;
  }

  /** See {@linkcode DeltaBytes}. */
  get payloadBytes(): number {
    return this.#end - this.#start;
  }

  /** See {@linkcode DeltaBytes}. */
  writeId(target: Uint8Array, at: number): void {
    const source = this.#idSource, start = this.#idStart + 1;
    copy(source, start, start + this.idBytes, target, at);
  }

  /** See {@linkcode DeltaBytes}. */
  writePayload(target: Uint8Array, at: number): void {
    copy(this.#bytes, this.#start, this.#end, target, at);
  }

  /**
   * Counts one packet, whose payload is `bytes[start, end)`; `bytes` must not change any more. A timestamp greater than
   * `latestMs` is wrong, and any later packet replaces it. `share`: the `StreamShare` that contributes it.
   */
  add(
    share: object,
    timestampMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    latestMs = Infinity,
  ): void {
    if (share !== this.#share) this.#contributeBy(share);
    this.packets++;
    if (timestampMs >= this.timestampMs || this.timestampMs > latestMs) {
      this.timestampMs = timestampMs;
      this.#bytes = bytes;
      this.#start = start;
      this.#end = end;
    }
  }

  /** How many packets each share contributed. */
  contributions(): ReadonlyMap<object, number> {
    this.#contributeBy(undefined);
    return this.#earlier ?? new Map();
  }

  #contributeBy(share: object | undefined): void {
    const packets = this.packets - this.#packetsBefore;
    if (this.#share !== undefined && packets > 0) {
      this.#earlier ??= new Map();
      this.#earlier.set(this.#share, (this.#earlier.get(this.#share) ?? 0) + packets);
    }
    this.#share = share;
    this.#packetsBefore = this.packets;
  }

  /** One with the same packets, of no share. */
  copy(): QueuedDelta {
    const copied = new QueuedDelta(this.ids);
    copied.begin(this.device, this.group, this.#idSource, this.#idStart);
    copied.merge(this);
    return copied;
  }

  /** Adds what another group of the same batch collected for the same device, later than this one. */
  merge(later: QueuedDelta, latestMs = Infinity): void {
    this.packets += later.packets;
    if (later.timestampMs >= this.timestampMs || this.timestampMs > latestMs) {
      this.timestampMs = later.timestampMs;
      this.#bytes = later.#bytes;
      this.#start = later.#start;
      this.#end = later.#end;
    }
  }
}

/** From so many bytes on a view costs less than a loop. */
const VIEW_BYTES = 64;

function copy(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start >= VIEW_BYTES) target.set(source.subarray(start, end), at);
  else for (let i = start; i < end; i++) target[at + i - start] = source[i]!;
}
