/**
 * Sessions of which the store holds less than it did: counted, and logged in few lines however many they are.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { SummedLog } from "../../runtime/summed_log.ts";
import type { IngestCounters } from "../counters.ts";

/** Of one ingest process. */
export class Reverts {
  readonly #counters: IngestCounters;
  readonly #log: Logger;
  readonly #lines: SummedLog<{ sessions: number; packets: number }>;

  /** Adds to `counters`. */
  constructor(counters: IngestCounters, log: Logger) {
    this.#counters = counters;
    this.#log = log;
    this.#lines = new SummedLog(() => ({ sessions: 0, packets: 0 }), (sums) => {
      log.warn(
        "The store went back: {sessions} more findings of sessions that it holds less of; " +
          "{packets} acknowledged packets are gone, and their devices go on",
        sums,
      );
    });
  }

  /**
   * The store holds `committed` packets of `session`, and held `before`. `lost`: packets among them that the
   * device does not send again, because they were acknowledged; 0 while that is not known.
   */
  found(session: string, before: number, committed: number, lost: number): void {
    const { sessionsReverted, packetsLost } = this.#counters;
    this.#counters.sessionsReverted = sessionsReverted + 1;
    this.#counters.packetsLost = Math.min(packetsLost + lost, Number.MAX_SAFE_INTEGER);
    this.#lines.occurred(() => {
      this.#log.warn(
        "The store went back: of session {session} it holds {committed} packets and held {before}; " +
          "{lost} acknowledged packets are gone, and its device goes on",
        { session, committed, before, lost },
      );
    }, (sums) => {
      sums.sessions++;
      sums.packets += lost;
    });
  }

  /** Logs what is pending; what is found later is only counted. */
  close(): void {
    this.#lines.close();
  }
}
