/**
 * The fragments of one header block: HEADERS and the CONTINUATION frames after it.
 *
 * @module
 */
import { concat } from "./frames.ts";

/** Collects the fragments of an incomplete header block. */
export class HeaderBlock {
  /** Bytes of the fragments added. */
  bytes = 0;
  /** Number of fragments added, one per frame. */
  frames = 0;
  #fragments: Uint8Array[] = [];

  /** `streamId`, `endStream`: of the HEADERS frame. `dependsOnItself`: its priority names its own stream. */
  constructor(
    readonly streamId: number,
    readonly endStream: boolean,
    readonly dependsOnItself: boolean,
  ) {}

  /** Adds a copy of `fragment`. */
  add(fragment: Uint8Array): void {
    this.frames++;
    this.bytes += fragment.length;
    if (fragment.length > 0) this.#fragments.push(fragment.slice());
  }

  /** Returns the whole block; `fragment` is its last, and may be returned without a copy. */
  endWith(fragment: Uint8Array): Uint8Array {
    return this.#fragments.length === 0 ? fragment : concat([...this.#fragments, fragment]);
  }
}
