/**
 * Buffer for received bytes of a stream that cannot be consumed yet.
 *
 * @module
 */

/** Small chunks are copied into pieces of this size: an object for each chunk would take many times its bytes. */
const PIECE_BYTES = 4096;

const noBytes = new Uint8Array(0);

/** FIFO of bytes; bounded by flow control, not by itself. */
export class WaitingBytes {
  readonly #pieces: Uint8Array[] = [];
  /** The last piece, while it has room; `#filled` of its bytes are used. */
  #open = noBytes;
  #filled = 0;

  /** Whether there are no bytes. */
  get empty(): boolean {
    return this.#pieces.length === 0 && this.#filled === 0;
  }

  /** Appends a copy: a small part of a received chunk would keep the whole chunk in memory. */
  add(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > this.#open.length) {
      this.#finishOpen();
      if (bytes.length >= PIECE_BYTES) {
        this.#pieces.push(bytes.slice());
        return;
      }
      this.#open = new Uint8Array(PIECE_BYTES);
    }
    this.#open.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** The oldest piece; undefined: empty. Call it only to read, as it closes a piece that could still be filled. */
  first(): Uint8Array | undefined {
    if (this.#pieces.length === 0) this.#finishOpen();
    return this.#pieces[0];
  }

  /** Removes the first `bytes` bytes of {@linkcode first}. */
  consumed(bytes: number): void {
    if (bytes === this.#pieces[0]!.length) this.#pieces.shift();
    else this.#pieces[0] = this.#pieces[0]!.subarray(bytes);
  }

  #finishOpen(): void {
    if (this.#filled > 0) this.#pieces.push(this.#open.subarray(0, this.#filled));
    this.#open = noBytes;
    this.#filled = 0;
  }
}
