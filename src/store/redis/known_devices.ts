/**
 * Which devices the store is known to have.
 *
 * @module
 */
import type { DeviceDelta } from "../packets.ts";
import { hashOfDelta, hashOfId } from "./id_hash.ts";

/** Devices that are held as known, at most: a byte each. */
const MAX_KNOWN = 2 ** 22;

/** Removed devices that are held; with more, none is held as known any more. */
const MAX_REMOVED = 100_000;

/** By their numbers in the first numbering that is seen. */
export class KnownDevices {
  #numbering: object | undefined;
  /** Number of the device at index 0. */
  #first = 0;
  #known = new Uint8Array(1024);
  /** Hashes of devices that were removed: they, and the few with the same hash, are not known. */
  readonly #removed = new Set<number>();

  /** Whether devices of this numbering can be known. */
  numbers(numbering: object | undefined): boolean {
    this.#numbering ??= numbering;
    return numbering !== undefined && numbering === this.#numbering;
  }

  /** Index of the device, if it is known; or -1. */
  indexOf(delta: DeviceDelta): number {
    const index = delta.device! - this.#first;
    if (this.#known[index] !== 1) return -1;
    return this.#removed.size > 0 && this.#removed.has(hashOfDelta(delta)) ? -1 : index;
  }

  /** The store has the device. False: there is no room for it, so {@linkcode restart} is to be called. */
  add({ device }: DeviceDelta): boolean {
    const index = device! - this.#first;
    if (index >= MAX_KNOWN) return false;
    if (index >= this.#known.length) {
      const known = new Uint8Array(2 ** Math.ceil(Math.log2(index + 1)));
      known.set(this.#known);
      this.#known = known;
    }
    if (index >= 0) this.#known[index] = 1;
    return true;
  }

  /** The device was removed. */
  removedId(deviceId: string): void {
    this.removedHashes([hashOfId(deviceId)]);
  }

  /** Devices with these hashes were removed. */
  removedHashes(hashes: readonly number[]): void {
    if (this.#removed.size + hashes.length > MAX_REMOVED) this.clear();
    else for (const hash of hashes) this.#removed.add(hash);
  }

  /** None is known any more. */
  clear(): void {
    this.#known.fill(0);
    this.#removed.clear();
  }

  /** The same, and indexes begin at the device of this delta. */
  restart({ device }: DeviceDelta): void {
    this.clear();
    this.#first = device!;
    this.#known = new Uint8Array(1024);
  }
}
