/**
 * The fragments of one header block: HEADERS and the CONTINUATION frames after it.
 *
 * @module
 */
import { concat } from "./frames.ts";

/** A header block of which more may come. */
export class HeaderBlock {
  /** Bytes of the fragments so far. */
  bytes = 0;
  /** Frames so far. */
  frames = 0;
  #fragments: Uint8Array[] = [];

  /** Began with HEADERS on `streamId`. */
  constructor(
    readonly streamId: number,
    readonly endStream: boolean,
    readonly dependsOnItself: boolean,
  ) {}

  /** Keeps a copy of `fragment`. */
  add(fragment: Uint8Array): void {
    this.frames++;
    this.bytes += fragment.length;
    if (fragment.length > 0) this.#fragments.push(fragment.slice());
  }

  /** The whole block, of which `fragment` is the last. */
  endWith(fragment: Uint8Array): Uint8Array {
    return this.#fragments.length === 0 ? fragment : concat([...this.#fragments, fragment]);
  }
}
