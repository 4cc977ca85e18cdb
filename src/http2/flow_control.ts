/**
 * Flow control of received DATA (RFC 9113, 5.2).
 *
 * @module
 */
import { INITIAL_WINDOW_BYTES } from "./frames.ts";

/** The receive window of a stream or of a connection: detects a peer that exceeds it, and returns credit for consumed DATA. */
export class ReceiveWindow {
  #limitBytes = INITIAL_WINDOW_BYTES;
  /** Received, and not yet returned as credit. */
  #inFlightBytes = 0;
  /** The part of these that was consumed. */
  #consumedBytes = 0;

  /** `fullBytes`: size of the window from the first WINDOW_UPDATE on; until then it has the protocol's initial size. */
  constructor(readonly fullBytes: number) {}

  /** Accounts for received DATA; false: the peer exceeded the window. */
  received(bytes: number): boolean {
    this.#inFlightBytes += bytes;
    return this.#inFlightBytes <= this.#limitBytes;
  }

  /** Accounts for consumed DATA; returns the increment of the WINDOW_UPDATE to send, 0 below half of the window. */
  consumed(bytes: number): number {
    this.#consumedBytes += bytes;
    return 2 * this.#consumedBytes < this.#limitBytes ? 0 : this.open();
  }

  /** Restores the full window; returns the increment of the WINDOW_UPDATE to send. */
  open(): number {
    const increment = this.#consumedBytes + this.fullBytes - this.#limitBytes;
    this.#inFlightBytes -= this.#consumedBytes;
    this.#consumedBytes = 0;
    this.#limitBytes = this.fullBytes;
    return increment;
  }
}
