/**
 * Flow control of what is received (RFC 9113, 5.2).
 *
 * @module
 */
import { INITIAL_WINDOW_BYTES } from "./frames.ts";

/** The receive window of a stream or of a connection: holds the peer to it, and returns credit as DATA is consumed. */
export class ReceiveWindow {
  #limitBytes = INITIAL_WINDOW_BYTES;
  /** Received, and not returned as credit. */
  #inFlightBytes = 0;
  /** Of these, what was consumed. */
  #consumedBytes = 0;

  /** `fullBytes` may be in flight from the first WINDOW_UPDATE on. */
  constructor(readonly fullBytes: number) {}

  /** Accounts for received DATA; false: the peer exceeded the window. */
  received(bytes: number): boolean {
    this.#inFlightBytes += bytes;
    return this.#inFlightBytes <= this.#limitBytes;
  }

  /** Returns the increment of the WINDOW_UPDATE to send; 0 while less than half of the window was consumed. */
  consumed(bytes: number): number {
    this.#consumedBytes += bytes;
    return 2 * this.#consumedBytes < this.#limitBytes ? 0 : this.open();
  }

  /** The same, at once. */
  open(): number {
    const increment = this.#consumedBytes + this.fullBytes - this.#limitBytes;
    this.#inFlightBytes -= this.#consumedBytes;
    this.#consumedBytes = 0;
    this.#limitBytes = this.fullBytes;
    return increment;
  }
}
