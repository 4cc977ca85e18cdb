/**
 * What the store itself lost when it was put back to an earlier state or emptied: Tally cannot have that any more,
 * and must have all else.
 *
 * @module
 */
import { countsKey, sessionKey } from "../../src/store/redis/keys.ts";
import type { RedisServer } from "../support/redis_server.ts";
import type { SessionClient } from "./devices.ts";

/** What the store holds at one moment. */
interface StoreState {
  /** Packets by device. */
  readonly counts: ReadonlyMap<string, number>;
  /** Settled packets by session. */
  readonly committed: ReadonlyMap<string, number>;
}

/** Packets of one session that the store held and lost at one time: numbers `from`, inclusive, to `to`, exclusive. */
interface LostPackets {
  readonly from: number;
  readonly to: number;
  /** The client knew of so many that they are settled: those it does not send again. */
  readonly settled: number;
}

/** Keeps account of all times that the store lost data. */
export class StoreLosses {
  readonly #ofSessions = new Map<string, LostPackets[]>();
  readonly #ofDevices = new Map<string, number>();

  /** Runs `change`, which takes data from the store while nobody else writes to it. */
  async record(
    redis: RedisServer,
    clients: readonly SessionClient[],
    change: () => Promise<unknown>,
  ): Promise<void> {
    const sessions = clients.map(({ session, settled }) => ({ session, settled }));
    const names = sessions.map(({ session }) => session);
    const before = await readState(redis, names);
    await change();
    const after = await readState(redis, names);
    for (const { session, settled } of sessions) {
      const lost = { from: after.committed.get(session)!, to: before.committed.get(session)!, settled };
      this.#ofSessions.set(session, [...this.#ofSessions.get(session) ?? [], lost]);
    }
    for (const [deviceId, count] of before.counts) {
      const lost = count - (after.counts.get(deviceId) ?? 0);
      if (lost > 0) this.#ofDevices.set(deviceId, (this.#ofDevices.get(deviceId) ?? 0) + lost);
    }
  }

  /** Whether the store held and lost packet number `index` of a session, at any time. */
  mayHaveLost(session: string, index: number): boolean {
    return this.#ofSessions.get(session)?.some(({ from, to }) => index >= from && index < to) ?? false;
  }

  /** Whether it did, and the client, which sends nothing again that it knew to be settled, has not sent it since. */
  hasLost(session: string, index: number): boolean {
    return this.#ofSessions.get(session)?.some(({ from, to, settled }) =>
      index >= from && index < Math.min(to, settled)
    ) ?? false;
  }

  /** Packets that the store lost of a device. */
  ofDevice(deviceId: string): number {
    return this.#ofDevices.get(deviceId) ?? 0;
  }
}

async function readState(redis: RedisServer, sessions: readonly string[]): Promise<StoreState> {
  const found = await redis.call("MGET", ...sessions.map(sessionKey)) as (string | null)[];
  const list = await redis.call("HGETALL", countsKey) as string[];
  const counts = new Map<string, number>();
  for (let i = 0; i < list.length; i += 2) counts.set(list[i]!, Number(list[i + 1]));
  const committed = new Map(sessions.map((session, i) => [session, Number(found[i]?.split(" ")[1] ?? 0)]));
  return { counts, committed };
}
