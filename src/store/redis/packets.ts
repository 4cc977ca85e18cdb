/**
 * Batches and claims of sessions in Redis: `apply.lua` and `claim.lua`.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { ForeignCounts } from "../model/foreign_counts.ts";
import { fleetPeriods } from "../model/periods.ts";
import {
  type Batch,
  type DeviceLimits,
  type FencedSession,
  type PacketStore,
  PRODUCER_EXPIRY_MS,
  type RefusedDevice,
  SESSION_EXPIRY_MS,
  type SessionAdvance,
} from "../packets.ts";
import type { ShardKeys } from "./keys.ts";
import { packDevices } from "./records.ts";
import type { RedisClient } from "./redis_client.ts";
import type { Argument } from "./redis_connection.ts";
import { applyScript } from "./scripts.ts";
import { SessionClaims } from "./session_claims.ts";

/** Of a batch that states none. */
const noLimits: DeviceLimits = {
  maxDevices: Number.MAX_SAFE_INTEGER,
  maxNewPerMinute: Number.MAX_SAFE_INTEGER,
};

/** `foreign` receives counts of other programs that a batch set aside. */
export function redisPackets(client: RedisClient, foreign: ForeignCounts): PacketStore {
  const claims = new SessionClaims(client);
  return {
    claimSession: (session, offset, _nowMs, continues, limits, resendable) =>
      claims.claim(session, offset, continues, limits, resendable),

    async apply(batch) {
      const { devices, sessions } = batch;
      const attempt = `apply a batch of ${devices.length} devices and ${sessions.length} sessions`;
      const [fenced, aside, reached, refused] = await client.writeDurably(
        attempt,
        applyScript,
        ...scriptInput(batch, client.keys),
      ) as [number[], Buffer[], Buffer, number[]];
      for (let i = 0; i < aside.length; i += 2) {
        foreign.setAside(aside[i]!.toString(), aside[i + 1]!.toString(), client.keys.setAside);
      }
      const limit = reached.toString() as keyof DeviceLimits;
      return [
        ...readFenced(fenced, sessions),
        ...refused.map((index): RefusedDevice => (
          { kind: "refused", deviceId: devices[index]!.deviceId, limit }
        )),
      ];
    },
  };
}

/** `fenced`: the first list that `apply.lua` returns. */
function readFenced(fenced: readonly number[], sessions: readonly SessionAdvance[]): FencedSession[] {
  return Array.from({ length: fenced.length / 3 }, (_, i) => {
    const [index, reverted, committed] = fenced.slice(3 * i) as [number, number, number];
    const kind = reverted === 1 ? "reverted" : "superseded";
    return { session: sessions[index]!.session, kind, committed };
  });
}

/** Keys and arguments as `apply.lua` lists them. */
function scriptInput(batch: Batch, names: ShardKeys): [keys: string[], args: Argument[]] {
  const { devices, sessions, receivedAtMs, deviceLimits = noLimits } = batch;
  const keys = [
    ...[
      names.counts,
      names.records,
      names.payloads,
      names.histories,
      names.version,
      names.changes,
      names.events,
    ],
    ...[names.lineage, names.setAside, names.nothing],
    ...fleetPeriods.map(({ name }) => names.fleet(name, receivedAtMs)),
    names.producer(batch.producer),
    names.newDevices,
  ];
  const args: Argument[] = [
    batch.sequence,
    batch.previous,
    receivedAtMs,
    PRODUCER_EXPIRY_MS,
    SESSION_EXPIRY_MS,
    ...packDevices(devices),
    deviceLimits.maxDevices,
    deviceLimits.maxNewPerMinute,
  ];
  for (const { session, epoch, from, to } of sessions) {
    keys.push(names.session(session));
    args.push(`${epoch} ${from}`, `${epoch} ${to}`);
  }
  return [keys, args];
}
