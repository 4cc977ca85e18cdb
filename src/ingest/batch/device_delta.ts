/**
 * What a batch adds to a device.
 *
 * @module
 */
import type { DeltaBytes, DeltaPackets, DeviceDelta } from "../../store/packets.ts";
import { copyBytes, type PacketChains } from "./packet_chains.ts";

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
export class QueuedDelta implements DeviceDelta, DeltaBytes, DeltaPackets {
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
  /** Has all packets, from `first` to `#last`, if they are kept. */
  #chains: PacketChains | undefined;
  /** See {@linkcode DeltaPackets}. */
  first = 0;
  #last = 0;
  /** See {@linkcode DeltaPackets}. */
  keptBytes = 0;

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
      this.first =
      this.#last =
      this.keptBytes =
        0;
    this.#share = this.#earlier = this.#chains = undefined;
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
    copyBytes(source, start, start + this.idBytes, target, at);
  }

  /** See {@linkcode DeltaBytes}. */
  writePayload(target: Uint8Array, at: number): void {
    copyBytes(this.#bytes, this.#start, this.#end, target, at);
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

  /** Keeps a packet that was added, for the packet stream. */
  keep(chains: PacketChains, timestampMs: number, bytes: Uint8Array, start: number, end: number): void {
    const packet = chains.add(this.#idSource, this.#idStart, timestampMs, bytes, start, end);
    this.#append(chains, packet, packet, chains.bytesOf(packet));
  }

  #append(chains: PacketChains, first: number, last: number, bytes: number): void {
    if (this.#chains === undefined) this.first = first;
    else chains.link(this.#last, first);
    this.#chains = chains;
    this.#last = last;
    this.keptBytes += bytes;
  }

  /** See {@linkcode DeviceDelta}. */
  get kept(): DeltaPackets | undefined {
    return this.#chains === undefined ? undefined : this;
  }

  /** See {@linkcode DeltaPackets}. */
  next(packet: number): number {
    // In another delta the chain may go on.
    return packet === this.#last ? -1 : this.#chains!.next(packet);
  }

  /** See {@linkcode DeltaPackets}. */
  bytesOf(packet: number): number {
    return this.#chains!.bytesOf(packet);
  }

  /** See {@linkcode DeltaPackets}. */
  write(packet: number, target: Uint8Array, at: number): number {
    return this.#chains!.write(packet, target, at);
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
    if (later.#chains !== undefined) {
      this.#append(later.#chains, later.first, later.#last, later.keptBytes);
    }
    if (later.timestampMs >= this.timestampMs || this.timestampMs > latestMs) {
      this.timestampMs = later.timestampMs;
      this.#bytes = later.#bytes;
      this.#start = later.#start;
      this.#end = later.#end;
    }
  }
}
