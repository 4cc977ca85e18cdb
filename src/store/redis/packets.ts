/**
 * Batches and claims of sessions in Redis: `apply.lua` and `claim.lua`.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { ForeignCounts } from "../model/foreign_counts.ts";
import { packEntries } from "../model/packet_entries.ts";
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
  type Unapplied,
} from "../packets.ts";
import type { DeferredPackets, Split } from "./deferred_packets.ts";
import { packDevices, packSegment } from "./device_columns.ts";
import type { RedisClient } from "./redis_client.ts";
import type { Argument } from "./redis_command.ts";
import { sampleColumns } from "./sample_columns.ts";
import { applyScript } from "./scripts.ts";
import { SessionClaims } from "./session_claims.ts";

/** Of a batch that states none. */
const noLimits: DeviceLimits = {
  maxDevices: Number.MAX_SAFE_INTEGER,
  maxNewPerMinute: Number.MAX_SAFE_INTEGER,
};

/** A batch as it was sent last; sent again, it gets the same reply, so it is divided in the same way. */
interface Attempt {
  readonly batch: Batch;
  readonly split: Split;
  readonly segment: Buffer | undefined;
  isApplied: boolean;
  /** How often. */
  sent: number;
}

/** `foreign` receives counts of other programs that a batch set aside. */
export function redisPackets(
  client: RedisClient,
  foreign: ForeignCounts,
  deferred: DeferredPackets,
): PacketStore {
  const claims = new SessionClaims(client);
  let last: Attempt | undefined;

  async function attemptOf(batch: Batch): Promise<Attempt> {
    if (last !== undefined && isSentAgain(batch, last.batch)) return { ...last, batch };
    const split = await deferred.split(batch);
    const segment = split.deferred && packSegment(split.deferred.deltas, batch.receivedAtMs);
    return { batch, split, segment, isApplied: false, sent: 0 };
  }

  /** Undefined: nothing was applied, and the batch is to be divided again. */
  async function applyOnce(batch: Batch, attempt: Attempt): Promise<Unapplied | undefined> {
    const { split, segment } = attempt;
    attempt.sent++;
    const reply = await send(client, batch, attempt);
    const [fenced, aside, reached, refused, outcome, removals, removedHashes] = reply;
    const isNothing = [LOG_LOST, DEVICES_REMOVED, NOT_PERMITTED, LOG_MERGED].includes(outcome);
    if (isNothing || fenced.length > 0) last = undefined;
    if (outcome === LOG_LOST || outcome === STORE_REVERTED) deferred.forget();
    if (outcome === LOG_MERGED) deferred.logMerged();
    if (outcome === NOT_PERMITTED) deferred.disable();
    if (outcome === DEVICES_REMOVED) deferred.removed(String(removals), removedHashes?.map(Number));
    if (isNothing) return undefined;
    for (let i = 0; i < aside.length; i += 2) {
      foreign.setAside(aside[i]!.toString(), aside[i + 1]!.toString(), client.keys.setAside);
    }
    const unapplied = readFenced(fenced, batch.sessions);
    if (unapplied.length > 0) {
      if (unapplied.some(({ kind }) => kind === "reverted")) deferred.forget();
      return unapplied;
    }
    // A batch that was applied before, divided in another way, left no segment now.
    const isRepeated = outcome === APPLIED_BEFORE && attempt.sent === 1;
    if (!attempt.isApplied && !isRepeated) {
      deferred.applied(batch, split, refused, segment?.length ?? 0, removals?.toString());
    }
    attempt.isApplied = true;
    return readRefused(refused, reached, batch);
  }

  return {
    claimSession: (session, offset, _nowMs, continues, limits, epoch, resendable) =>
      claims.claim(session, offset, continues, limits, epoch, resendable),

    deferred: () => deferred.amount,

    async apply(batch) {
      for (;;) {
        const attempt = last = await attemptOf(batch);
        const unapplied = await whileCommitting(attempt.split, () => applyOnce(batch, attempt));
        if (unapplied !== undefined) return unapplied;
      }
    },
  };
}

/** Whether a batch is `last` with the same devices: its sessions may be others, if one was fenced elsewhere. */
function isSentAgain({ producer, sequence, devices }: Batch, last: Batch): boolean {
  return producer === last.producer && sequence === last.sequence && devices.length === last.devices.length &&
    devices.every((device, i) => device === last.devices[i]);
}

/** A log does not end while it is unknown whether a segment of it was committed. */
async function whileCommitting<T>({ deferred }: Split, body: () => Promise<T>): Promise<T> {
  if (deferred === undefined) return await body();
  const { log } = deferred;
  log.isCommitting = true;
  try {
    return await body();
  } finally {
    log.isCommitting = false;
  }
}

async function send(client: RedisClient, batch: Batch, { split, segment }: Attempt): Promise<ApplyReply> {
  const { deferred: part } = split, { sessions } = batch, { keys } = client;
  const attempt = `apply a batch of ${batch.devices.length} devices and ${sessions.length} sessions`;
  const before = part && segment
    ? [["set", keys.segment(part.name), segment, "PX", SEGMENT_EXPIRY_MS, "NX"] as const]
    : [];
  const [names, args] = scriptInput(batch, split, client);
  return await client.writeDurably([attempt, applyScript, names, args], ...before) as ApplyReply;
}

/** What `apply.lua` returns. */
type ApplyReply = [
  fenced: number[],
  aside: Buffer[],
  reached: Buffer,
  refused: number[],
  outcome: number,
  removals: Buffer | undefined,
  removedHashes: Buffer[] | null,
];

/** Outcomes of `apply.lua` that are not 0. */
const LOG_LOST = 1, DEVICES_REMOVED = 2, APPLIED_BEFORE = 3, NOT_PERMITTED = 4;
const STORE_REVERTED = 5, LOG_MERGED = 6;

/** A segment that does not become part of a log is deleted after so long. */
const SEGMENT_EXPIRY_MS = 60_000;

/** `refused`: positions of devices; `reached`: the limit. */
function readRefused(refused: readonly number[], reached: Buffer, { devices }: Batch): RefusedDevice[] {
  const limit = reached.toString() as keyof DeviceLimits;
  return refused.map((position) => ({ kind: "refused", deviceId: devices[position]!.deviceId, limit }));
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
function scriptInput(
  batch: Batch,
  { counted, positions, deferred: part }: Split,
  { keys: names, keepsValues }: RedisClient,
): [keys: string[], args: Argument[]] {
  const { sessions, receivedAtMs, deviceLimits = noLimits } = batch;
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
    part === undefined ? names.nothing : names.segment(part.name),
    part === undefined ? names.nothing : names.log(part.log.name),
    ...[names.logs, names.removals, names.removedHashes],
    names.packetStream,
    ...[names.samples, names.sampleState, names.valueFeed],
  ];
  const args: Argument[] = [
    ...[receivedAtMs, ...packDevices(counted)],
    ...[batch.sequence, batch.previous, PRODUCER_EXPIRY_MS, SESSION_EXPIRY_MS],
    ...[deviceLimits.maxDevices, deviceLimits.maxNewPerMinute],
    ...[part?.number ?? 0, part?.packets ?? 0, part?.log.name ?? "", part?.name ?? "", part?.removals ?? ""],
    positions?.join() ?? "",
    ...[batch.packetStream?.maxEntries ?? 0, batch.packetStream ? packEntries(batch.devices) : ""],
    ...sampleColumns(keepsValues, counted),
  ];
  for (const { session, epoch, from, to } of sessions) {
    keys.push(names.session(session));
    args.push(`${epoch} ${from}`, `${epoch} ${to}`);
  }
  return [keys, args];
}
