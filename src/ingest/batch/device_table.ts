/**
 * Device ids, interned by their bytes: the id of every packet leads to its {@linkcode Device} without making a string,
 * and an id is checked once, when it is first seen.
 *
 * @module
 */
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import { RejectReason } from "../../protocol/reject_reason.ts";
import { Device } from "./device_delta.ts";

/**
 * A hash table from the bytes of valid ids to devices. Bounded: when it holds `maxDevices`, it is emptied and fills
 * again with the devices that still send, whose ids are checked once more.
 */
export class DeviceTable {
  #slots: (Device | undefined)[];
  #mask: number;
  #size = 0;
  #generation = 0;
  /** Random, so that a client cannot choose ids that share a slot. */
  readonly #seed = crypto.getRandomValues(new Int32Array(1))[0]!;

  /** An empty table of at most `maxDevices`. */
  constructor(readonly maxDevices: number) {
    this.#mask = 1023;
    this.#slots = new Array(this.#mask + 1);
  }

  /** Devices held now. */
  get size(): number {
    return this.#size;
  }

  /** The device with the id `bytes[start, end)`, or why it is not a valid id. */
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
    const device = new Device(id, bytes, hash, this.#generation);
    this.#place(device);
    return device;
  }

  #resize(slots: number, keep: boolean): void {
    const held = this.#slots;
    this.#slots = new Array(slots);
    this.#mask = slots - 1;
    this.#size = 0;
    if (!keep) this.#generation++;
    else for (const device of held) if (device !== undefined) this.#place(device);
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
  // From the end: ids of a fleet have a common beginning.
  for (let i = length - 1; i >= 0; i--) if (expected[i] !== bytes[start + i]) return false;
  return true;
}
