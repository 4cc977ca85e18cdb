/**
 * Sessions of which the store holds less than it did: counted, and logged in few lines however many they are.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { IngestCounters } from "../counters.ts";

/** One line at once; later ones are summed up for so long. */
const SUM_UP_MS = 10_000;

/** Of one ingest process. */
export class Reverts {
  readonly #counters: IngestCounters;
  readonly #log: Logger;
  /** Not logged yet; undefined while a line may be written at once. */
  #pending: { sessions: number; packets: number } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Adds to `counters`. */
  constructor(counters: IngestCounters, log: Logger) {
    this.#counters = counters;
    this.#log = log;
  }

  /**
   * The store holds `committed` packets of `session`, and held `before`. `lost`: packets among them that the
   * device does not send again, because they were acknowledged; 0 while that is not known.
   */
  found(session: string, before: number, committed: number, lost: number): void {
    const { sessionsReverted, packetsLost } = this.#counters;
    this.#counters.sessionsReverted = sessionsReverted + 1;
    this.#counters.packetsLost = Math.min(packetsLost + lost, Number.MAX_SAFE_INTEGER);
    if (this.#closed) return;
    if (this.#pending !== undefined) {
      this.#pending.sessions++;
      this.#pending.packets += lost;
      return;
    }
    this.#log.warn(
      "The store went back: of session {session} it holds {committed} packets and held {before}; " +
        "{lost} acknowledged packets are gone, and its device goes on",
      { session, committed, before, lost },
    );
    this.#sumUp();
  }

  /** Logs what is pending; what is found later is only counted. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#logPending();
  }

  #sumUp(): void {
    this.#pending = { sessions: 0, packets: 0 };
    this.#timer = setTimeout(() => {
      if (this.#logPending()) this.#sumUp();
    }, SUM_UP_MS);
  }

  #logPending(): boolean {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined || pending.sessions === 0) return false;
    this.#log.warn(
      "The store went back: {sessions} more findings of sessions that it holds less of; " +
        "{packets} acknowledged packets are gone, and their devices go on",
      pending,
    );
    return true;
  }
}
