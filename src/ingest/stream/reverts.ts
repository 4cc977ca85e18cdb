/**
 * Sessions of which the store holds less than it did: counted, and logged in few lines however many they are.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import { SummedLog } from "../../runtime/summed_log.ts";
import type { IngestCounters } from "../counters.ts";

/** A session of which the store holds less than it did. */
export interface RevertedSession {
  /** How many packets of it the store held. */
  readonly before: number;
  /** How many it holds. */
  readonly committed: number;
  /** Packets between that were acknowledged and that the device does not have any more; 0 while that is not known. */
  readonly lost: number;
  /** Packets between that were acknowledged and that the device sends again, as it keeps them. */
  readonly resent: number;
}

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

  /** Counts and logs a finding. */
  found(session: string, reverted: RevertedSession): void {
    const { lost } = reverted;
    const { sessionsReverted, packetsLost } = this.#counters;
    this.#counters.sessionsReverted = sessionsReverted + 1;
    this.#counters.packetsLost = Math.min(packetsLost + lost, Number.MAX_SAFE_INTEGER);
    this.#lines.occurred(() => {
      this.#log.warn(
        "The store went back: of session {session} it holds {committed} packets and held {before}; " +
          "{lost} acknowledged packets are gone, its device sends {resent} again and goes on",
        { session, ...reverted },
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
