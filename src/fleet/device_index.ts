/**
 * Every device in memory, in columns: a million devices are a few arrays, not a million objects.
 *
 * @module
 */
import { CLOCK_AHEAD_MS, type DeviceSummary } from "../store/devices.ts";
import { ChangedSlots } from "./changed_slots.ts";
import { DeviceIntervals, grown } from "./device_intervals.ts";
import type { DeviceCounts, DeviceView, FleetTotals, SortedDevices } from "./device_view.ts";
import { SortedIds } from "./sorted_ids.ts";

/** Packets are counted per so many milliseconds for the rates. */
const BUCKET_MS = 5_000;

/** The bucket that is filling, eleven full ones, and the one the window is leaving. */
const BUCKETS = 13;

/** Rates are over no less: the first packets would be thousands a second. */
const MIN_WINDOW_MS = 1_000;

/** Every device by a slot number that is its own until it is removed. */
export class DeviceIndex {
  readonly #offlineBeforeMs: (nowMs: number) => number;
  #cutoff: { readonly nowMs: number; readonly beforeMs: number } | undefined;
  readonly #slots = new Map<string, number>();
  readonly #freeSlots: number[] = [];
  /** By slot; undefined where no device is. */
  readonly #ids: (string | undefined)[] = [];
  #count = new Float64Array(1_024);
  #firstSeenMs = new Float64Array(1_024);
  #lastSeenMs = new Float64Array(1_024);
  #timestampMs = new Float64Array(1_024);
  readonly #intervals = new DeviceIntervals();
  /** 1 where the store has the device as online: its last event was not "offline". */
  #storedOnline = new Uint8Array(1_024);
  #round = new Uint32Array(1_024);
  readonly #packets = Array.from({ length: BUCKETS }, () => new Uint32Array(1_024));
  #packetsEver = 0;
  #oldestFirstSeenMs: number | undefined;
  /** Number, since 1970, of the bucket that is filling; 0 before the first device. */
  #bucket = 0;
  /** When every device was known for the first time. */
  #completeSinceMs: number | undefined;
  readonly #sortedIds = new SortedIds();
  /** Undefined: no reader takes them. */
  #changes: ChangedSlots | undefined;
  /** Undefined when a device was added or removed since. */
  #sorted: SortedDevices | undefined;

  /**
   * `offlineAfterMs`: a device that sends nothing for longer is offline; `offlineBeforeMs`: one last seen before
   * this is, where not all time counts.
   */
  constructor(
    offlineAfterMs: number,
    offlineBeforeMs: (nowMs: number) => number = (nowMs) => nowMs - offlineAfterMs,
  ) {
    this.#offlineBeforeMs = offlineBeforeMs;
  }

  /** Devices known. */
  get size(): number {
    return this.#slots.size;
  }

  /** The device's slot, or undefined if it is not known. */
  slotOf(deviceId: string): number | undefined {
    return this.#slots.get(deviceId);
  }

  /** End offset of the slots. */
  get endSlot(): number {
    return this.#ids.length;
  }

  /** How long every device has been known, milliseconds. */
  ageMs(nowMs: number): number {
    return nowMs - (this.#completeSinceMs ?? nowMs);
  }

  /** From the first call on, the slots of devices that were added, updated or removed, for one reader. */
  changes(): ChangedSlots {
    return this.#changes ??= new ChangedSlots();
  }

  /** The id of the device in `slot`, or undefined if there is none. */
  idAt(slot: number): string | undefined {
    return this.#ids[slot];
  }

  /** Server time of the first packet of the device in `slot`, Unix milliseconds. */
  firstSeenAt(slot: number): number {
    return this.#firstSeenMs[slot]!;
  }

  /** Milliseconds from one packet of the device in `slot` to the next, usually; null before the second. */
  intervalAt(slot: number): number | null {
    const count = this.#count[slot]!;
    return this.#intervals.at(slot, meanIntervalMs(count, this.#firstSeenMs[slot]!, this.#lastSeenMs[slot]!));
  }

  /** Packets per second of the device in `slot` over the last minute. */
  minuteRateAt(slot: number, nowMs: number): number {
    return this.#rate(slot, nowMs, 60_000);
  }

  /** Packets of the device in `slot`. */
  countAt(slot: number): number {
    return this.#count[slot]!;
  }

  /** When the device in `slot` was last seen, Unix milliseconds. */
  lastSeenAt(slot: number): number {
    return this.#lastSeenMs[slot]!;
  }

  /** Whether the device in `slot` was last seen within `offlineAfterMs`. */
  onlineAt(slot: number, nowMs: number): boolean {
    if (this.#cutoff?.nowMs !== nowMs) this.#cutoff = { nowMs, beforeMs: this.#offlineBeforeMs(nowMs) };
    return this.#lastSeenMs[slot]! >= this.#cutoff!.beforeMs;
  }

  /** Packets per second of the device in `slot` over the last ten seconds, or what there is of them. */
  rateAt(slot: number, nowMs: number): number {
    return this.#rate(slot, nowMs, 10_000);
  }

  /** All about the device in `slot`. */
  viewAt(slot: number, nowMs: number): DeviceView {
    return {
      deviceId: this.#ids[slot]!,
      online: this.onlineAt(slot, nowMs),
      count: this.#count[slot]!,
      rate10s: this.ageMs(nowMs) < 10_000 ? null : this.#rate(slot, nowMs, 10_000),
      rate1m: this.#rate(slot, nowMs, 60_000),
      intervalMs: this.intervalAt(slot),
      firstSeenMs: this.#firstSeenMs[slot]!,
      lastSeenMs: this.#lastSeenMs[slot]!,
      timestampMs: this.#timestampMs[slot]!,
    };
  }

  /** Sums over all devices. */
  totals(nowMs: number): FleetTotals {
    let online = 0, count = 0;
    for (const slot of this.#slots.values()) {
      if (this.onlineAt(slot, nowMs)) online++;
      count += this.#count[slot]!;
    }
    return { devices: this.#slots.size, online, count, firstSeenMs: this.#oldestFirstSeenMs };
  }

  /** Devices that are offline, and that the store still has as online. */
  newlyOffline(nowMs: number): string[] {
    const offline: string[] = [];
    for (const [deviceId, slot] of this.#slots) {
      // A device that only another program counted was never online.
      const wasOnline = this.#storedOnline[slot] === 1 && this.#lastSeenMs[slot]! > 0;
      if (wasOnline && !this.onlineAt(slot, nowMs)) offline.push(deviceId);
    }
    return offline;
  }

  /** Up to `limit` devices that were seen, and last before `beforeMs`. */
  unseenSince(beforeMs: number, limit: number): string[] {
    const unseen: string[] = [];
    for (const [deviceId, slot] of this.#slots) {
      const lastSeenMs = this.#lastSeenMs[slot]!;
      if (lastSeenMs === 0 || lastSeenMs >= beforeMs) continue;
      unseen.push(deviceId);
      if (unseen.length === limit) break;
    }
    return unseen;
  }

  /** Every device, by id; shared, never to be changed. */
  sorted(): SortedDevices {
    if (this.#sorted === undefined) {
      const ids = this.#sortedIds.all((id) => this.#slots.has(id));
      const slots = new Uint32Array(ids.length);
      for (let i = 0; i < ids.length; i++) slots[i] = this.#slots.get(ids[i]!)!;
      this.#sorted = { ids, slots };
    }
    return this.#sorted;
  }

  /** Every device's count, apart from the index: later changes do not show in it. */
  counts(): DeviceCounts {
    const { ids, slots } = this.sorted();
    const counts = new Float64Array(slots.length);
    const lastSeenMs = new Float64Array(slots.length);
    for (let i = 0; i < slots.length; i++) {
      counts[i] = this.#count[slots[i]!]!;
      lastSeenMs[i] = this.#lastSeenMs[slots[i]!]!;
    }
    return { ids, counts, lastSeenMs, packetsEver: this.#packetsEver };
  }

  /**
   * Updates a device to what the store has. `round`: of the read it comes from, see {@linkcode sweep}. Packets more
   * than before count as of the device's last seen; those of a device that is found before the first sweep are older
   * than the index.
   */
  set(summary: DeviceSummary, round: number, nowMs: number): void {
    const { deviceId, count, firstSeenMs, lastSeenMs, timestampMs, online } = summary;
    this.#turnTo(nowMs);
    let slot = this.#slots.get(deviceId);
    if (slot === undefined) {
      slot = this.#freeSlots.pop() ?? this.#ids.length;
      if (slot === this.#count.length) this.#grow();
      this.#ids[slot] = deviceId;
      this.#slots.set(deviceId, slot);
      this.#sortedIds.add(deviceId);
      this.#sorted = undefined;
      for (const packets of this.#packets) packets[slot] = 0;
      this.#lastSeenMs[slot] = 0;
      this.#count[slot] = this.#completeSinceMs === undefined ? count : 0;
      this.#packetsEver += this.#count[slot]!;
      this.#firstSeenMs[slot] = -1;
    }
    // Fewer than before: it was removed and came back, unless it is the same device in a store that went back.
    const isAnew = count < this.#count[slot]! && firstSeenMs !== this.#firstSeenMs[slot];
    const added = isAnew ? count : Math.max(0, count - this.#count[slot]!);
    this.#packetsEver += added;
    const bucket = Math.min(Math.floor(lastSeenMs / BUCKET_MS), this.#bucket);
    if (bucket > this.#bucket - BUCKETS) this.#packets[bucket % BUCKETS]![slot]! += added;
    const seenBeforeMs = this.#lastSeenMs[slot]!;
    let seenMs = lastSeenMs;
    // Of a clock that was set back since: the store corrects it with the next packet, which may never come.
    if (lastSeenMs > nowMs + CLOCK_AHEAD_MS) {
      seenMs = added > 0 || seenBeforeMs === 0 ? nowMs : Math.min(seenBeforeMs, nowMs);
    }
    if (firstSeenMs !== this.#firstSeenMs[slot]) this.#begin(slot, count, firstSeenMs, seenMs);
    else if (seenMs !== seenBeforeMs) this.#intervals.add(slot, seenMs, added);
    this.#count[slot] = count;
    this.#firstSeenMs[slot] = firstSeenMs;
    this.#lastSeenMs[slot] = seenMs;
    this.#timestampMs[slot] = timestampMs;
    this.#storedOnline[slot] = online ? 1 : 0;
    this.#round[slot] = round;
    this.#changes?.add(slot);
  }

  /** Adds what was counted of devices that were removed before the index was filled. */
  addRemoved(packets: number): void {
    this.#packetsEver += packets;
  }

  /** Removes a device. */
  delete(deviceId: string): void {
    const slot = this.#slots.get(deviceId);
    if (slot === undefined) return;
    this.#slots.delete(deviceId);
    this.#ids[slot] = undefined;
    this.#freeSlots.push(slot);
    this.#changes?.add(slot);
    this.#sortedIds.remove();
    this.#sorted = undefined;
  }

  /** Removes the devices that were last set before `round`: a read of the whole store did not find them. */
  sweep(round: number, nowMs: number): void {
    this.#completeSinceMs ??= nowMs;
    for (const [deviceId, slot] of this.#slots) if (this.#round[slot]! < round) this.delete(deviceId);
  }

  /** A device that is new to the index, or was removed and came back. */
  #begin(slot: number, count: number, firstSeenMs: number, lastSeenMs: number): void {
    // 0 where only another program counted.
    const isOldest = firstSeenMs > 0 && firstSeenMs < (this.#oldestFirstSeenMs ?? Infinity);
    if (isOldest) this.#oldestFirstSeenMs = firstSeenMs;
    this.#intervals.begin(slot, lastSeenMs, meanIntervalMs(count, firstSeenMs, lastSeenMs));
  }

  /**
   * Packets per second over a window that ends now, and begins no earlier than the device's first packet or
   * than the index was complete. It is not a whole number of buckets: of the oldest one's packets the share
   * that lies in the window counts, as if they had come evenly while they could.
   */
  #rate(slot: number, nowMs: number, windowMs: number): number {
    this.#turnTo(nowMs);
    // One that is ahead is of a clock that was set back since.
    const firstSeenMs = this.#firstSeenMs[slot]! > nowMs + CLOCK_AHEAD_MS ? 0 : this.#firstSeenMs[slot]!;
    const knownSinceMs = Math.max(this.#completeSinceMs ?? nowMs, firstSeenMs);
    const fromMs = Math.max(nowMs - windowMs, knownSinceMs);
    let packets = this.#packets[this.#bucket % BUCKETS]![slot]!;
    for (let bucket = this.#bucket - 1; bucket > this.#bucket - BUCKETS; bucket--) {
      const endMs = (bucket + 1) * BUCKET_MS;
      if (endMs <= fromMs) break;
      const startMs = Math.max(bucket * BUCKET_MS, knownSinceMs);
      packets += this.#packets[bucket % BUCKETS]![slot]! * Math.min(1, (endMs - fromMs) / (endMs - startMs));
    }
    // From the first packet on there is one interval less than there are packets.
    if (fromMs === firstSeenMs) packets = Math.max(0, packets - 1);
    return Math.round(packets * 1_000_000 / Math.max(MIN_WINDOW_MS, nowMs - fromMs)) / 1_000;
  }

  /** Makes the bucket of `nowMs` the one that is filling. After the clock was set back the rates begin anew. */
  #turnTo(nowMs: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS);
    if (bucket < this.#bucket - 1) {
      for (const packets of this.#packets) packets.fill(0);
      this.#bucket = bucket;
      if (this.#completeSinceMs !== undefined) this.#completeSinceMs = nowMs;
    }
    if (bucket <= this.#bucket) return;
    for (let next = Math.max(this.#bucket + 1, bucket - BUCKETS + 1); next <= bucket; next++) {
      this.#packets[next % BUCKETS]!.fill(0);
    }
    this.#bucket = bucket;
  }

  #grow(): void {
    const length = this.#count.length * 2;
    this.#count = grown(this.#count, new Float64Array(length));
    this.#firstSeenMs = grown(this.#firstSeenMs, new Float64Array(length));
    this.#lastSeenMs = grown(this.#lastSeenMs, new Float64Array(length));
    this.#timestampMs = grown(this.#timestampMs, new Float64Array(length));
    this.#intervals.grow(length);
    this.#storedOnline = grown(this.#storedOnline, new Uint8Array(length));
    this.#round = grown(this.#round, new Uint32Array(length));
    this.#packets.forEach((packets, i) => this.#packets[i] = grown(packets, new Uint32Array(length)));
  }
}

/** Of all packets of a device, milliseconds a packet; 0: not known, as where another program counted. */
function meanIntervalMs(count: number, firstSeenMs: number, lastSeenMs: number): number {
  return count > 1 && firstSeenMs > 0 ? Math.max(0, lastSeenMs - firstSeenMs) / (count - 1) : 0;
}
