/**
 * How the streams of a connection ended: what may still come on a closed stream depends on it (RFC 9113, 5.1).
 *
 * @module
 */

/** Both sides ended the stream, the peer reset it, or it was reset here and the peer may not know yet. */
export type Ending = "ended" | "resetByPeer" | "resetHere";

/** Streams remembered that were reset here: as many as may be reset at once, with frames of theirs in flight. */
const MAX_RESET_HERE = 1024;

/** Others remembered: only a peer that breaks the rules sends frames on them. */
const MAX_OTHERS = 16;

/** The streams that were closed last. */
export class ClosedStreams {
  #resetHere: Set<number> | undefined;
  /** Ids, negative where the peer reset the stream; the oldest first. */
  #others: number[] | undefined;

  /** Remembers how a stream ended. */
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

  /** How it ended; undefined: longer ago, or it was skipped and never opened. */
  get(streamId: number): Ending | undefined {
    if (this.#resetHere?.has(streamId)) return "resetHere";
    if (this.#others?.includes(streamId)) return "ended";
    return this.#others?.includes(-streamId) ? "resetByPeer" : undefined;
  }

  /** The peer reset it too: nothing of it is in flight any more. False: it was not reset here. */
  resetByBoth(streamId: number): boolean {
    if (this.#resetHere?.delete(streamId) !== true) return false;
    this.add(streamId, "resetByPeer");
    return true;
  }
}
