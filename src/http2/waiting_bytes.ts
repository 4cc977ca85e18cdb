/**
 * Bytes that a stream keeps until they can be read.
 *
 * @module
 */

/** Small chunks are put together to pieces of this size: an object each would take many times what they carry. */
const PIECE_BYTES = 4096;

const noBytes = new Uint8Array(0);

/** First in, first out; bounded by flow control. */
export class WaitingBytes {
  readonly #pieces: Uint8Array[] = [];
  /** The last piece, as long as there is room in it. */
  #open = noBytes;
  #filled = 0;

  /** Whether nothing waits. */
  get empty(): boolean {
    return this.#pieces.length === 0 && this.#filled === 0;
  }

  /** Copies: a small rest would keep all that was received with it. */
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

  /** The oldest piece; undefined: nothing waits. To be called to read it: a later piece needs memory of its own. */
  first(): Uint8Array | undefined {
    if (this.#pieces.length === 0) this.#finishOpen();
    return this.#pieces[0];
  }

  /** The first `bytes` bytes of {@linkcode first} were read. */
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
