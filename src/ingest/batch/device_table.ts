/**
 * Device ids, interned by their bytes: the same id of every packet leads to the same {@linkcode Device}
 * without making a string, and an id is checked once, when it is first seen.
 *
 * @module
 */
import type { Delta } from "./queue.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";

/** Longest device id, in bytes of UTF-8. */
export const MAX_DEVICE_ID_BYTES = 128;

/** One device of this process's table. */
export class Device {
  /** The delta that last collected a packet of this device; saves a map look-up per packet. */
  delta: Delta | undefined;

  /** `bytes` are the id in UTF-8, `hash` what the table finds it by. */
  constructor(readonly id: string, readonly bytes: Uint8Array, readonly hash: number) {}
}

/**
 * A hash table from the bytes of valid ids to devices. Bounded: when it holds `maxDevices`, it is
 * emptied and fills again with the devices still talking, which costs each of them one look at its id.
 */
export class DeviceTable {
  #slots: (Device | undefined)[];
  #mask: number;
  #size = 0;

  /** An empty table that holds `maxDevices` at the most. */
  constructor(readonly maxDevices: number) {
    this.#mask = 1023;
    this.#slots = new Array(this.#mask + 1);
  }

  /** Devices held now. */
  get size(): number {
    return this.#size;
  }

  /** The device with the id `bytes[start, end)`, or why that is not a device id. */
  intern(bytes: Uint8Array, start: number, end: number): Device | RejectReason {
    const length = end - start;
    if (length === 0) return RejectReason.DEVICE_ID_EMPTY;
    if (length > MAX_DEVICE_ID_BYTES) return RejectReason.DEVICE_ID_TOO_LONG;
    let hash = length ^ this.#seed;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x0100_0193);
    hash ^= hash >>> 15;
    let slot = hash & this.#mask;
    for (let device; (device = this.#slots[slot]) !== undefined; slot = (slot + 1) & this.#mask) {
      if (device.hash === hash && sameBytes(device.bytes, bytes, start, length)) return device;
    }
    return this.#add(bytes.slice(start, end), hash);
  }

  /** Drawn at random: which ids share a slot is not the same on two servers, and not known outside. */
  readonly #seed = crypto.getRandomValues(new Int32Array(1))[0]!;

  #add(bytes: Uint8Array, hash: number): Device | RejectReason {
    let id;
    try {
      id = utf8.decode(bytes);
    } catch {
      return RejectReason.DEVICE_ID_NOT_UTF8;
    }
    if (controlCharacter.test(id)) return RejectReason.DEVICE_ID_CONTROL_CHARACTER;
    if (this.#size >= this.maxDevices) this.#resize(1024, false);
    else if (this.#size * 2 > this.#mask) this.#resize(this.#slots.length * 2, true);
    const device = new Device(id, bytes, hash);
    this.#place(device);
    return device;
  }

  #resize(slots: number, keep: boolean): void {
    const held = this.#slots;
    this.#slots = new Array(slots);
    this.#mask = slots - 1;
    this.#size = 0;
    if (keep) { for (const device of held) if (device !== undefined) this.#place(device); }
  }

  #place(device: Device): void {
    let slot = device.hash & this.#mask;
    while (this.#slots[slot] !== undefined) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = device;
    this.#size++;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** C0, DEL and C1. */
const controlCharacter = /\p{Cc}/u;

function sameBytes(expected: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
  if (expected.length !== length) return false;
  // From the end: ids of a fleet are alike at the beginning.
  for (let i = length - 1; i >= 0; i--) if (expected[i] !== bytes[start + i]) return false;
  return true;
}
