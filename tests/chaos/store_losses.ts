/**
 * What the store itself lost when it was put back to an earlier state or emptied: Tally cannot have that any more,
 * and must have all else.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { difference, expectations, type SessionClient } from "./devices.ts";
import type { StorePlace } from "./store_place.ts";
import { streamDifferences } from "./streamed_packets.ts";

/** Longer than an Ack is on its way, on a machine that is busy. */
const ACK_DELAY_MS = 300;

/** What the store holds at one moment. */
interface StoreState {
  /** Packets by device. */
  readonly counts: ReadonlyMap<string, number>;
  /** See {@linkcode StorePlace.held}. */
  readonly held: ReadonlyMap<string, readonly number[]>;
}

/**
 * Packets of one session that the store held and lost at one time: of each shard's devices numbers `from`, inclusive, to
 * `to`, exclusive.
 */
interface LostPackets {
  readonly from: readonly number[];
  readonly to: readonly number[];
  /** The client knew of so many that they are settled: those it does not send again. */
  readonly settled: number;
}

/** Keeps account of all times that the store lost data. */
export class StoreLosses {
  readonly #ofSessions = new Map<string, LostPackets[]>();
  readonly #ofDevices = new Map<string, number>();
  /** Packets that were lost after they had been found to be counted. */
  comparedPackets = 0;
  /** What was not as it had to be when the store was about to lose it. */
  readonly differences: string[] = [];

  /** None yet. */
  constructor(readonly store: StorePlace) {}

  /** Runs `change`, which takes data from the store while nobody else writes to it. */
  async record(
    clients: readonly SessionClient[],
    change: () => Promise<unknown>,
  ): Promise<void> {
    const { store } = this;
    await untilAcksAreRead(clients);
    const sessions = clients.map(({ access, session, settled }) => (
      { session, stored: access.storedSession(session), settled }
    ));
    const names = sessions.map(({ stored }) => stored);
    const before = await readState(store, names);
    this.differences.push(...await streamDifferences(store, before.counts));
    const compared = new Set(clients.flatMap((client) => this.#compare(client, before)));
    await change();
    const after = await readState(store, names);
    for (const { session, stored, settled } of sessions) {
      const lost = { from: after.held.get(stored)!, to: before.held.get(stored)!, settled };
      this.#ofSessions.set(session, [...this.#ofSessions.get(session) ?? [], lost]);
    }
    for (const [deviceId, count] of before.counts) {
      const lost = count - (after.counts.get(deviceId) ?? 0);
      if (lost <= 0) continue;
      this.#ofDevices.set(deviceId, (this.#ofDevices.get(deviceId) ?? 0) + lost);
      if (compared.has(deviceId)) this.comparedPackets += lost;
    }
  }

  /**
   * How far a shard has a session, and the counts of its devices there, move in one step: they agree at any moment.
   * Returns the devices.
   */
  #compare(client: SessionClient, { counts, held }: StoreState): string[] {
    const ends = held.get(client.access.storedSession(client.session))!;
    const isHeld = (index: number, deviceId: string) => index < ends[this.store.shardOf(deviceId)]!;
    return expectations(client, Math.max(...ends), this, isHeld).map((expected) => {
      const { deviceId, sent, gone } = expected, counted = counts.get(deviceId) ?? 0;
      const { lost, double } = difference(expected, counted);
      if (lost + double > 0) {
        this.differences.push(
          `${deviceId}: ${sent} of its packets were settled, of which the store had lost ${gone.least} to ` +
            `${gone.most}; ${counted} were counted when it was to lose data again`,
        );
      }
      return deviceId;
    });
  }

  /** Whether the store held and lost packet number `index` of a session, of this device, at any time. */
  mayHaveLost(session: string, index: number, deviceId: string): boolean {
    const shard = this.store.shardOf(deviceId);
    const found = this.#ofSessions.get(session)?.some(({ from, to }) =>
      index >= from[shard]! && index < to[shard]!
    );
    return found ?? false;
  }

  /** Whether it did, and the client, which sends nothing again that it knew to be settled, has not sent it since. */
  hasLost(session: string, index: number, deviceId: string): boolean {
    const shard = this.store.shardOf(deviceId);
    const found = this.#ofSessions.get(session)?.some(({ from, to, settled }) =>
      index >= from[shard]! && index < Math.min(to[shard]!, settled)
    );
    return found ?? false;
  }

  /** Packets that the store lost of a device. */
  ofDevice(deviceId: string): number {
    return this.#ofDevices.get(deviceId) ?? 0;
  }
}

/** Acks that were sent before nobody sends any more may still be on their way to clients. */
async function untilAcksAreRead(clients: readonly SessionClient[]): Promise<void> {
  const settled = () => clients.reduce((sum, client) => sum + client.settled, 0);
  for (let seen = -1; seen !== settled();) {
    seen = settled();
    await delay(ACK_DELAY_MS);
  }
}

async function readState(store: StorePlace, sessions: readonly string[]): Promise<StoreState> {
  return { counts: await store.counts(), held: await store.held(sessions) };
}
