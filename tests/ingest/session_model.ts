/**
 * What the store must do, in memory, for the model of sessions: see `session_model_test.ts`.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import type {
  Batch,
  FencedSession,
  Resendable,
  SessionClaim,
  SessionLimits,
  Unapplied,
} from "../../src/store/packets.ts";
import type { Random } from "../support/random.ts";

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

/** What a store holds. */
interface State {
  /** Packets by device. */
  readonly counts: Map<string, number>;
  readonly sessions: Map<string, { epoch: number; committed: number }>;
  /** Indexes of each session that are in the counts, or were rejected. */
  readonly settled: Map<string, Set<number>>;
  readonly applied: Map<string, number>;
}

/** The store's contract in memory. Every call waits until the test decides its fate. */
export class ModelStore {
  #state: State = { counts: new Map(), sessions: new Map(), settled: new Map(), applied: new Map() };
  /** Rises with every claim, and does not go back with the data. */
  #clock = 0;
  readonly #snapshots: State[] = [structuredClone(this.#state)];
  /** The greatest offset each session ever had. */
  readonly highest = new Map<string, number>();
  /** The epoch of the latest claim of each session. */
  readonly latestEpoch = new Map<string, number>();
  /** The offsets that it reported of reverted sessions: `<session> <committed>`. */
  readonly reported = new Set<string>();
  /** Times it was put back to an earlier state. */
  reverts = 0;
  /** Calls that wait: `run` carries out the call and returns its result. */
  readonly calls: {
    run: () => unknown;
    resolve: (value: unknown) => void;
    reject: (error: Error) => void;
  }[] = [];

  get counts(): ReadonlyMap<string, number> {
    return this.#state.counts;
  }

  get sessions(): ReadonlyMap<string, { epoch: number; committed: number }> {
    return this.#state.sessions;
  }

  get settled(): ReadonlyMap<string, ReadonlySet<number>> {
    return this.#state.settled;
  }

  takeSnapshot(): void {
    this.#snapshots.push(structuredClone(this.#state));
  }

  /** Puts back one of the snapshots: the first one is of the empty store. */
  revert(random: Random): void {
    this.#state = structuredClone(random.pick(this.#snapshots));
    this.reverts++;
  }

  claimSession(
    session: string,
    offset: number,
    _nowMs: number,
    _continues: string | undefined,
    _limits: SessionLimits,
    _epoch?: number,
    resendable?: Resendable,
  ): Promise<SessionClaim> {
    return this.#call(() => {
      const known = this.sessions.get(session);
      // Sessions do not expire here: one that is unknown was lost.
      const committed = Math.max(known?.committed ?? 0, resendable?.oldest ?? offset);
      const epoch = Math.max((known?.epoch ?? 0) + 1, ++this.#clock);
      this.#state.sessions.set(session, { epoch, committed });
      this.latestEpoch.set(session, epoch);
      return { epoch, committed, lost: committed - (known?.committed ?? 0), isNew: known === undefined };
    });
  }

  apply(batch: Batch): Promise<Unapplied> {
    // As it was sent: a call that is carried out late has nothing of what the objects are used for since.
    const added = new Map(batch.devices.map(({ deviceId, packets }) => [deviceId, packets]));
    return this.#call(() => {
      const { producer, sequence, previous, sessions } = batch;
      const { counts, settled, applied } = this.#state;
      const last = applied.get(producer) ?? 0;
      if (sequence <= last) return [];
      const fenced = sessions.flatMap(({ session, epoch, from }): FencedSession[] => {
        const known = this.sessions.get(session);
        if (known?.epoch === epoch && known.committed === from) return [];
        const kind = known !== undefined && known.epoch > epoch ? "superseded" : "reverted";
        const committed = known?.committed ?? (previous === 0 || last === previous ? from : 0);
        if (known === undefined && last === previous && previous > 0) {
          this.#state.sessions.set(session, { epoch, committed: from });
        }
        if (kind === "reverted") this.reported.add(`${session} ${committed}`);
        return [{ session, kind, committed }];
      });
      if (fenced.length > 0) return fenced;
      // What is added must be what the sessions advance by.
      const expected = new Map<string, number>();
      for (const { session, from, to } of sessions) {
        for (const [id, packets] of contents(session, from, to)) {
          expected.set(id, (expected.get(id) ?? 0) + packets);
        }
        const indexes = settled.get(session) ?? new Set();
        settled.set(session, indexes);
        for (let index = from; index < to; index++) {
          assert(!indexes.has(index), `packet ${index} of ${session} is counted twice`);
          indexes.add(index);
        }
        this.#state.sessions.set(session, { ...this.sessions.get(session)!, committed: to });
        this.highest.set(session, Math.max(this.highest.get(session) ?? 0, to));
      }
      for (const id of added.keys()) if (id.startsWith("anonymous")) expected.set(id, added.get(id)!);
      assertEquals(sorted(added), sorted(expected));
      for (const [id, packets] of added) counts.set(id, (counts.get(id) ?? 0) + packets);
      applied.set(producer, sequence);
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
