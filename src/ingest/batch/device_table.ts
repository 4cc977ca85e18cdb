/**
 * Device ids, interned by their bytes: the id of every packet leads to the device's number without making a string or an
 * object, and an id is checked once, when it is first seen.
 *
 * @module
 */
import type { RateMeter } from "../../limits/rate_meter.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";
import { fnv1a } from "../../runtime/fnv.ts";
import { type DeltaGroup, type DeviceIds, QueuedDelta } from "./device_delta.ts";

/** What few stores and streams need of a device. */
export interface Device {
  /** See `DeviceDelta`. */
  readonly id: string;
  /** What it may send, where there is a limit. */
  meter: RateMeter | undefined;
}

/** Bounds of a {@linkcode DeviceTable}. */
export interface DeviceTableOptions {
  /** Devices with a number. */
  readonly maxDevices: number;
  /** Bytes of their ids; default {@linkcode MAX_ID_BYTES}. */
  readonly maxIdBytes?: number;
  /** Devices with an object; default {@linkcode MAX_DEVICE_OBJECTS}. */
  readonly maxObjects?: number;
}

/** Ids of 31 bytes for 2^21 devices. */
const MAX_ID_BYTES = 2 ** 26;

/** Ids are in chunks of so many bytes, none of them in two. */
const CHUNK_BITS = 20, CHUNK_BYTES = 1 << CHUNK_BITS;

/** Some 300 bytes each with a meter. */
const MAX_DEVICE_OBJECTS = 2 ** 18;

/** Deltas that are kept for later batches: 20 MB. */
const MAX_FREE_DELTAS = 2 ** 17;

const FIRST_SLOTS = 1024;

/**
 * A hash table from the bytes of valid ids to numbers. Bounded: when it is full, it is emptied and fills again with the
 * devices that still send, whose ids are checked once more, and which get other numbers.
 *
 * Measured: 53 MB with a million ids of 12 bytes, 112 MB with 2^21 of them, 149 MB with 2^21 of 31 bytes.
 */
export class DeviceTable implements DeviceIds {
  readonly #maxDevices: number;
  readonly #maxChunks: number;
  readonly #maxObjects: number;
  /** Number of the first device since the table was emptied last; that of the one at index `i` is `first + i`. */
  #first = 0;
  #size = 0;
  /** Two integers each: hash, and index + 1; 0: free. At most half are taken. */
  #slots = new Int32Array(2 * FIRST_SLOTS);
  /** Where the length of each id is, followed by the id: the chunk, and where in it. */
  #starts = new Uint32Array(FIRST_SLOTS / 2);
  #chunks: Uint8Array[] = [];
  /** Where the next id may begin; of the last chunk. */
  #end = CHUNK_BYTES;
  /** The delta that last collected packets of each device, until it is released. */
  #deltas: (QueuedDelta | undefined)[] = [];
  #devices: (Device | undefined)[] = [];
  #objects = 0;
  readonly #free: QueuedDelta[] = [];
  /** Random, so that a client cannot choose ids that share a slot. */
  readonly #seed = crypto.getRandomValues(new Int32Array(1))[0]!;

  /** An empty table. */
  constructor(
    { maxDevices, maxIdBytes = MAX_ID_BYTES, maxObjects = MAX_DEVICE_OBJECTS }: DeviceTableOptions,
  ) {
    this.#maxDevices = maxDevices;
    this.#maxChunks = Math.ceil(maxIdBytes / CHUNK_BYTES);
    this.#maxObjects = maxObjects;
  }

  /** Devices held now. */
  get size(): number {
    return this.#size;
  }

  /** Differs once the table was emptied: a device of before may have another number now. */
  get generation(): number {
    return this.#first;
  }

  /**
   * The number of the device with the id `bytes[start, end)`, which no other device ever gets; or, if it is not a valid
   * id, the negative of the {@linkcode RejectReason}.
   */
  intern(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length === 0) return -RejectReason.DEVICE_ID_EMPTY;
    if (length > MAX_DEVICE_ID_BYTES) return -RejectReason.DEVICE_ID_TOO_LONG;
    let hash = fnv1a(bytes, start, end, length ^ this.#seed);
    hash ^= hash >>> 15;
    const slots = this.#slots, mask = slots.length - 1;
    for (let slot = hash << 1 & mask, taken; (taken = slots[slot + 1]!) !== 0; slot = slot + 2 & mask) {
      if (slots[slot] === hash && this.#isAt(taken - 1, bytes, start, length)) return this.#first + taken - 1;
    }
    return this.#add(bytes, start, end, hash);
  }

  #isAt(index: number, bytes: Uint8Array, start: number, length: number): boolean {
    const idStart = this.#starts[index]!;
    const chunk = this.#chunks[idStart >>> CHUNK_BITS]!, at = idStart & CHUNK_BYTES - 1;
    if (chunk[at] !== length) return false;
    // From the end: ids of a fleet have a common beginning.
    for (let i = length; i > 0; i--) if (chunk[at + i] !== bytes[start + i - 1]) return false;
    return true;
  }

  /** What a device of {@linkcode intern} has beside its number; valid until the next call of that. */
  device(device: number): Device {
    const index = device - this.#first;
    let found = this.#devices[index];
    if (found === undefined) {
      if (this.#objects >= this.#maxObjects) {
        this.#devices.fill(undefined);
        this.#objects = 0;
      }
      this.#objects++;
      const idStart = this.#starts[index]!, at = (idStart & CHUNK_BYTES - 1) + 1;
      const chunk = this.#chunks[idStart >>> CHUNK_BITS]!;
      found = { id: decodeId(chunk.subarray(at, at + chunk[at - 1]!)), meter: undefined };
      this.#devices[index] = found;
    }
    return found;
  }

  /** See {@linkcode DeviceIds}. */
  idOf(delta: QueuedDelta): string {
    return delta.device >= this.#first ? this.device(delta.device).id : decodeId(delta.idView);
  }

  /** The delta that collects packets of a device of {@linkcode intern}; undefined: none does. */
  deltaOf(device: number): QueuedDelta | undefined {
    return this.#deltas[device - this.#first];
  }

  /** Another delta collects packets of its device from now on. */
  setDelta(delta: QueuedDelta): void {
    this.#deltas[delta.device - this.#first] = delta;
  }

  /** An empty delta of a device of {@linkcode intern}. */
  newDelta(device: number, group: DeltaGroup): QueuedDelta {
    const delta = this.#free.pop() ?? new QueuedDelta(this);
    const idStart = this.#starts[device - this.#first]!;
    delta.begin(device, group, this.#chunks[idStart >>> CHUNK_BITS]!, idStart & CHUNK_BYTES - 1);
    return delta;
  }

  /** A delta is not used any more: it may become that of another device. */
  release(delta: QueuedDelta): void {
    const index = delta.device - this.#first;
    if (index >= 0 && this.#deltas[index] === delta) this.#deltas[index] = undefined;
    delta.clear();
    if (this.#free.length < MAX_FREE_DELTAS) this.#free.push(delta);
  }

  #add(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const invalid = isPlain(bytes, start, end) ? undefined : invalidity(bytes.subarray(start, end));
    if (invalid !== undefined) return -invalid;
    const needed = 1 + end - start, needsChunk = this.#end + needed > CHUNK_BYTES;
    const isFull = this.#size >= this.#maxDevices || needsChunk && this.#chunks.length >= this.#maxChunks;
    if (isFull) this.#empty();
    else if (this.#size >= this.#starts.length) this.#grow();
    if (needsChunk || isFull) {
      this.#chunks.push(new Uint8Array(CHUNK_BYTES));
      this.#end = 0;
    }
    const chunk = this.#chunks.at(-1)!, index = this.#size++;
    this.#starts[index] = (this.#chunks.length - 1) * CHUNK_BYTES + this.#end;
    chunk[this.#end++] = end - start;
    for (let i = start; i < end; i++) chunk[this.#end++] = bytes[i]!;
    this.#deltas.push(undefined);
    this.#devices.push(undefined);
    place(this.#slots, hash, index + 1);
    return this.#first + index;
  }

  #empty(): void {
    this.#first += this.#size;
    this.#size = this.#objects = 0;
    this.#slots = new Int32Array(2 * FIRST_SLOTS);
    this.#starts = new Uint32Array(FIRST_SLOTS / 2);
    this.#chunks = [];
    this.#deltas = [];
    this.#devices = [];
  }

  #grow(): void {
    const held = this.#slots, slots = new Int32Array(2 * held.length);
    for (let slot = 0; slot < held.length; slot += 2) {
      if (held[slot + 1] !== 0) place(slots, held[slot]!, held[slot + 1]!);
    }
    this.#slots = slots;
    const starts = new Uint32Array(2 * this.#starts.length);
    starts.set(this.#starts);
    this.#starts = starts;
  }
}

function place(slots: Int32Array, hash: number, taken: number): void {
  const mask = slots.length - 1;
  let slot = hash << 1 & mask;
  while (slots[slot + 1] !== 0) slot = slot + 2 & mask;
  slots[slot] = hash;
  slots[slot + 1] = taken;
}

/** Whether all are printable ASCII, as ids usually are. */
function isPlain(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i]! < 0x20 || bytes[i]! > 0x7e) return false;
  return true;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** C0, DEL and C1. */
const controlCharacter = /\p{Cc}/u;

function invalidity(bytes: Uint8Array): RejectReason | undefined {
  let id;
  try {
    id = utf8.decode(bytes);
  } catch {
    return RejectReason.DEVICE_ID_NOT_UTF8;
  }
  return controlCharacter.test(id) ? RejectReason.DEVICE_ID_CONTROL_CHARACTER : undefined;
}

function decodeId(bytes: Uint8Array): string {
  return isPlain(bytes, 0, bytes.length) ? String.fromCharCode(...bytes) : utf8.decode(bytes);
}
