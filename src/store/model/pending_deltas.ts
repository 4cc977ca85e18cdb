/**
 * What batches add to devices, coalesced over many batches: one entry per device.
 *
 * @module
 */
import { type DeltaBytes, DEVICE_CLOCK_AHEAD_MS, type DeviceDelta } from "../packets.ts";

/** Payloads up to this are kept in one block of memory for all entries, longer ones by themselves. */
const SHORT_BYTES = 64;

const FIRST_ENTRIES = 1024;

/**
 * What was added; columns of about 110 bytes for each device, because an object each takes several
 * times that.
 */
export class PendingDeltas {
  /** Devices with an entry: their numbers are 0, 1, 2, … */
  size = 0;
  /** When the packets of the latest batch were received, Unix milliseconds. */
  receivedAtMs = 0;
  /** Of each entry: the number of its device. */
  devices: Float64Array = new Float64Array(FIRST_ENTRIES);
  /** Of each entry: see {@linkcode DeviceDelta}. */
  packets: Float64Array = new Float64Array(FIRST_ENTRIES);
  /** Of each entry: see {@linkcode DeviceDelta}. */
  timestampsMs: Float64Array = new Float64Array(FIRST_ENTRIES);
  /** Of each entry: when the last of its packets were received, Unix milliseconds. */
  seenMs: Float64Array = new Float64Array(FIRST_ENTRIES);
  /** Where the ids are in {@linkcode ids}, one after the other. */
  idEnds: Uint32Array = new Uint32Array(FIRST_ENTRIES);
  /** All ids in UTF-8. */
  ids: Uint8Array = new Uint8Array(16 * FIRST_ENTRIES);
  /** Length of each payload; of one in {@linkcode long} -1. */
  payloadLengths: Int8Array = new Int8Array(FIRST_ENTRIES);
  /** The short payloads, `SHORT_BYTES` for each. */
  short: Uint8Array = new Uint8Array(SHORT_BYTES * FIRST_ENTRIES);
  /** The long payloads, by entry. */
  readonly long: Map<number, Uint8Array> = new Map();

  /** Adds a delta whose packets were received at `receivedAtMs`, as a new entry; returns its number. */
  addEntry(delta: DeviceDelta, receivedAtMs: number): number {
    const entry = this.size++;
    if (entry === this.packets.length) this.#grow();
    this.receivedAtMs = Math.max(this.receivedAtMs, receivedAtMs);
    this.devices[entry] = delta.device ?? -1;
    this.packets[entry] = delta.packets;
    this.seenMs[entry] = receivedAtMs;
    this.#addId(entry, delta);
    this.#setPayload(entry, delta);
    return entry;
  }

  /** Adds a delta to an entry, which is of the same device. */
  add(entry: number, delta: DeviceDelta, receivedAtMs: number): void {
    const timestampMs = this.timestampsMs[entry]!, seenMs = Math.max(this.seenMs[entry]!, receivedAtMs);
    this.receivedAtMs = Math.max(this.receivedAtMs, receivedAtMs);
    this.packets[entry]! += delta.packets;
    this.seenMs[entry] = seenMs;
    // A timestamp far ahead of its arrival is wrong: it must not hide later ones.
    if (timestampMs <= delta.timestampMs || timestampMs > seenMs + DEVICE_CLOCK_AHEAD_MS) {
      this.#setPayload(entry, delta);
    }
  }

  #addId(entry: number, delta: DeviceDelta): void {
    const { bytes } = delta, start = entry === 0 ? 0 : this.idEnds[entry - 1]!;
    const encoded = bytes === undefined ? utf8.encode(delta.deviceId) : undefined;
    const end = this.idEnds[entry] = start + (encoded?.length ?? bytes!.idBytes);
    if (end > this.ids.length) this.ids = extended(this.ids, new Uint8Array(2 * end));
    if (encoded === undefined) bytes!.writeId(this.ids, start);
    else this.ids.set(encoded, start);
  }

  #setPayload(entry: number, delta: DeviceDelta): void {
    const { bytes } = delta, length = bytes?.payloadBytes ?? delta.payload.length;
    this.timestampsMs[entry] = delta.timestampMs;
    if (this.payloadLengths[entry]! < 0) this.long.delete(entry);
    if (length > SHORT_BYTES) {
      this.payloadLengths[entry] = -1;
      this.long.set(entry, delta.payload.slice());
    } else {
      this.payloadLengths[entry] = length;
      if (bytes === undefined) this.short.set(delta.payload, entry * SHORT_BYTES);
      else bytes.writePayload(this.short, entry * SHORT_BYTES);
    }
  }

  #grow(): void {
    const entries = 2 * this.packets.length;
    this.devices = extended(this.devices, new Float64Array(entries));
    this.packets = extended(this.packets, new Float64Array(entries));
    this.timestampsMs = extended(this.timestampsMs, new Float64Array(entries));
    this.seenMs = extended(this.seenMs, new Float64Array(entries));
    this.idEnds = extended(this.idEnds, new Uint32Array(entries));
    this.payloadLengths = extended(this.payloadLengths, new Int8Array(entries));
    this.short = extended(this.short, new Uint8Array(entries * SHORT_BYTES));
  }
}

function extended<Column extends Float64Array | Uint32Array | Int8Array | Uint8Array>(
  from: Column,
  to: Column,
): Column {
  to.set(from);
  return to;
}

const utf8 = new TextEncoder(), text = new TextDecoder();

/** An entry as a delta; valid until something is added. */
export class PendingDelta implements DeviceDelta, DeltaBytes {
  readonly #pending: PendingDeltas;
  readonly #entry: number;

  /** That of `entry`. */
  constructor(pending: PendingDeltas, entry: number) {
    this.#pending = pending;
    this.#entry = entry;
  }

  /** See {@linkcode DeviceDelta}. */
  get device(): number {
    return this.#pending.devices[this.#entry]!;
  }

  /** See {@linkcode DeviceDelta}. */
  get deviceId(): string {
    return text.decode(this.#pending.ids.subarray(this.#idStart, this.#pending.idEnds[this.#entry]));
  }

  /** See {@linkcode DeviceDelta}. */
  get packets(): number {
    return this.#pending.packets[this.#entry]!;
  }

  /** See {@linkcode DeviceDelta}. */
  get timestampMs(): number {
    return this.#pending.timestampsMs[this.#entry]!;
  }

  /** See {@linkcode PendingDeltas.seenMs}. */
  get seenMs(): number {
    return this.#pending.seenMs[this.#entry]!;
  }

  /** See {@linkcode DeviceDelta}. */
  get payload(): Uint8Array {
    const start = this.#entry * SHORT_BYTES;
    return this.#pending.long.get(this.#entry) ??
      this.#pending.short.subarray(start, start + this.#pending.payloadLengths[this.#entry]!);
  }

  /** See {@linkcode DeviceDelta}. */
  get bytes(): DeltaBytes {
    return this;
  }

  /** See {@linkcode DeltaBytes}. */
  get idBytes(): number {
    return this.#pending.idEnds[this.#entry]! - this.#idStart;
  }

  /** See {@linkcode DeltaBytes}. */
  get payloadBytes(): number {
    const length = this.#pending.payloadLengths[this.#entry]!;
    return length < 0 ? this.payload.length : length;
  }

  /** See {@linkcode DeltaBytes}. */
  writeId(target: Uint8Array, at: number): void {
    const { ids } = this.#pending, start = this.#idStart, length = this.idBytes;
    for (let i = 0; i < length; i++) target[at + i] = ids[start + i]!;
  }

  /** See {@linkcode DeltaBytes}. */
  writePayload(target: Uint8Array, at: number): void {
    const length = this.#pending.payloadLengths[this.#entry]!, start = this.#entry * SHORT_BYTES;
    const { short } = this.#pending;
    if (length < 0) target.set(this.payload, at);
    else for (let i = 0; i < length; i++) target[at + i] = short[start + i]!;
  }

  get #idStart(): number {
    return this.#entry === 0 ? 0 : this.#pending.idEnds[this.#entry - 1]!;
  }
}
