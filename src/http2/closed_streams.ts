/**
 * How the streams of a connection ended: which frames the peer may still send on a closed stream depends on it
 * (RFC 9113, 5.1).
 *
 * @module
 */

/** Both sides sent END_STREAM, the peer sent RST_STREAM, or RST_STREAM was sent here, which the peer may not have read yet. */
export type Ending = "ended" | "resetByPeer" | "resetHere";

/** How many of the streams reset here are kept: as many as can be reset at once while frames of theirs are in flight. */
const MAX_RESET_HERE = 1024;

/** How many others are kept: only a peer that breaks the protocol sends frames on them. */
const MAX_OTHERS = 16;

/** The most recently closed streams of a connection. */
export class ClosedStreams {
  #resetHere: Set<number> | undefined;
  /** Ids, negative where the peer reset the stream; the oldest first. */
  #others: number[] | undefined;

  /** Stores how a stream ended; removes the oldest entry above the bound. */
  add(streamId: number, ending: Ending): void {
    if (ending === "resetHere") {
      const ids = this.#resetHere ??= new Set();
      ids.add(streamId);
      if (ids.size > MAX_RESET_HERE) ids.delete(ids.values().next().value!);
      return;
    }
    const ids = this.#others ??= [];
    ids.push(ending === "ended" ? streamId : -streamId);
    if (ids.length > MAX_OTHERS) ids.shift();
  }

  /** How the stream ended; undefined: it is no longer kept, or its id was skipped and never opened. */
  get(streamId: number): Ending | undefined {
    if (this.#resetHere?.has(streamId)) return "resetHere";
    if (this.#others?.includes(streamId)) return "ended";
    return this.#others?.includes(-streamId) ? "resetByPeer" : undefined;
  }

  /** The peer reset a stream that was reset here, so that no frame of it is in flight. False: it was not reset here. */
  resetByBoth(streamId: number): boolean {
    if (this.#resetHere?.delete(streamId) !== true) return false;
    this.add(streamId, "resetByPeer");
    return true;
  }
}
