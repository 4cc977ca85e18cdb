/**
 * What the store must do, in memory, for the model of sessions: see `session_model_test.ts`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import type { Batch, FencedSessions, SessionClaim } from "../../src/store/store.ts";

/** Of packet number `index`; one in seven is invalid. */
export const deviceOf = (session: string, index: number) => index % 7 === 6 ? "" : `${session}-${index % 2}`;

/** What the packets `from` to `to` of a session must add to each device. */
export function contents(session: string, from: number, to: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let index = from; index < to; index++) {
    const id = deviceOf(session, index);
    if (id !== "") counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

/** The store's contract in memory. Every call waits until the test decides what becomes of it. */
export class ModelStore {
  /** Packets by device. */
  readonly counts = new Map<string, number>();
  readonly sessions = new Map<string, { epoch: number; committed: number }>();
  readonly #applied = new Map<string, number>();
  /** Calls that wait: `run` does what was asked and returns the answer. */
  readonly calls: {
    run: () => unknown;
    resolve: (value: unknown) => void;
    reject: (error: Error) => void;
  }[] = [];

  claimSession(session: string, offset: number): Promise<SessionClaim> {
    return this.#call(() => {
      const known = this.sessions.get(session);
      const committed = known?.committed ?? offset;
      if (offset > committed) return { outcome: "gap", committed };
      const epoch = (known?.epoch ?? 0) + 1;
      this.sessions.set(session, { epoch, committed });
      return { outcome: "claimed", epoch, committed };
    });
  }

  apply(batch: Batch): Promise<FencedSessions> {
    return this.#call(() => {
      const { producer, sequence, sessions, devices } = batch;
      if (sequence <= (this.#applied.get(producer) ?? 0)) return [];
      const fenced = sessions.filter(({ session, epoch, from }) => {
        const known = this.sessions.get(session);
        return known?.epoch !== epoch || known.committed !== from;
      });
      if (fenced.length > 0) return fenced.map(({ session }) => session);
      // What is added must be what the sessions advance by, whoever put the batch together.
      const expected = new Map<string, number>();
      for (const { session, from, to } of sessions) {
        for (const [id, packets] of contents(session, from, to)) {
          expected.set(id, (expected.get(id) ?? 0) + packets);
        }
        this.sessions.set(session, { ...this.sessions.get(session)!, committed: to });
      }
      const added = new Map(devices.map(({ deviceId, packets }) => [deviceId, packets]));
      for (const id of added.keys()) if (id.startsWith("anonymous")) expected.set(id, added.get(id)!);
      assertEquals(sorted(added), sorted(expected));
      for (const [id, packets] of added) this.counts.set(id, (this.counts.get(id) ?? 0) + packets);
      this.#applied.set(producer, sequence);
      return [];
    });
  }

  #call<Result>(run: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => this.calls.push({ run, resolve: resolve as never, reject }));
  }
}

/** By key, to compare. */
export function sorted(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].sort(([a], [b]) => a < b ? -1 : 1);
}
