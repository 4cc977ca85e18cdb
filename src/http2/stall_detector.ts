/**
 * Notices a peer that begins something and hardly goes on with it.
 *
 * @module
 */

/** Compares two ticks: the same thing incomplete at both, and next to nothing received between them. */
export class StallDetector {
  #bytes = 0;
  #item: number | undefined;

  /** Bytes came. */
  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /**
   * To be called at every tick, with the number of the item that is incomplete now, if one is. True: it was so at the
   * tick before, and fewer than `minBytes` came since.
   */
  tick(item: number | undefined, minBytes: number): boolean {
    const stalled = item !== undefined && item === this.#item && this.#bytes < minBytes;
    this.#item = item;
    this.#bytes = 0;
    return stalled;
  }
}
