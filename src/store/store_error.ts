/**
 * The one error of every store.
 *
 * @module
 */

/** A store could not do what was attempted; `message` names the attempt and what was found. */
export class StoreError extends Error {
  /** The name of the class. */
  override readonly name = "StoreError";
}
