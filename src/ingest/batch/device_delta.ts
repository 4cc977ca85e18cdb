/**
 * A device of this process, and what a batch adds to it. The two refer to each other, which saves a map look-up per
 * packet.
 *
 * @module
 */
import type { RateMeter } from "../../limits/rate_meter.ts";
import type { DeviceDelta } from "../../store/packets.ts";

/** One device of a `DeviceTable`. */
export class Device {
  /** The delta that last collected a packet of this device. */
  delta: QueuedDelta | undefined;
  /** What it may send, where there is a limit. */
  meter: RateMeter | undefined;

  /**
   * `bytes` are the id in UTF-8, `hash` what the table finds it by. `generation`: how often the table was emptied
   * before; devices of two generations may have the same id.
   */
  constructor(
    readonly id: string,
    readonly bytes: Uint8Array,
    readonly hash: number,
    readonly generation: number,
  ) {}
}

const noBytes = new Uint8Array(0);

/**
 * What one group of a batch adds to one device: the packets are coalesced as they arrive. The payload stays in the
 * message it was received in until the batch is stored.
 */
export class QueuedDelta implements DeviceDelta {
  /** See {@linkcode DeviceDelta}. */
  packets = 0;
  /** See {@linkcode DeviceDelta}. */
  timestampMs: number = -1;
  #bytes: Uint8Array = noBytes;
  #start = 0;
  #end = 0;
  /** The share that the last packet belongs to, and how many there were before those that it contributed last. */
  #share: object | undefined;
  #packetsBefore = 0;
  /** Packets of shares, where there are several and without those that were contributed last: few devices have that. */
  #earlier: Map<object, number> | undefined;

  /** Nothing yet. `group`: the `FencingGroup` that it belongs to. */
  constructor(readonly device: Device, readonly group: object) {}

  /** See {@linkcode DeviceDelta}. */
  get deviceId(): string {
    return this.device.id;
  }

  /** See {@linkcode DeviceDelta}. */
  get payload(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
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
