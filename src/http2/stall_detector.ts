/**
 * Detects a peer that sends the beginning of a frame or message and the rest too slowly.
 *
 * @module
 */

/** Compares successive ticks: stalled when the same item is incomplete at both and too few bytes were received between. */
export class StallDetector {
  #bytes = 0;
  #item: number | undefined;

  /** Counts received bytes. */
  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /**
   * To be called at every tick. `item`: the number of the item that is incomplete now; undefined: none is. Returns true
   * when the same item was incomplete at the last tick and fewer than `minBytes` were received since.
   */
  tick(item: number | undefined, minBytes: number): boolean {
    const stalled = item !== undefined && item === this.#item && this.#bytes < minBytes;
    this.#item = item;
    this.#bytes = 0;
    return stalled;
  }
}
