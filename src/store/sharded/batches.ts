/**
 * Batches over shards: see `sharded_store.ts` for the steps, and why they are exact.
 *
 * @module
 */
import type {
  Batch,
  DeviceLimits,
  FencedSession,
  PacketStore,
  SessionAdvance,
  Unapplied,
} from "../packets.ts";
import { type BatchPlan, planBatch, type PlannedSession } from "./batch_plan.ts";
import { type Producer, Producers, type Step } from "./producers.ts";
import { SessionChecker, type ShardStep, type StepSession, unmoved } from "./session_checker.ts";
import { partOf } from "./session_shards.ts";
import { allSettled } from "./settled.ts";

type Shard = Pick<PacketStore, "apply" | "claimSession">;

/** `isPart`: a shard that is not the session's home went back. */
interface Fenced extends FencedSession {
  readonly isPart?: boolean;
}

/** Applies batches: see {@linkcode PacketStore.apply}. */
export class ShardedBatches {
  readonly #shards: readonly Shard[];
  readonly #producers = new Producers();
  readonly #checker: SessionChecker;

  /** To these shards. */
  constructor(shards: readonly Shard[]) {
    this.#shards = shards;
    this.#checker = new SessionChecker(shards);
  }

  /** As {@linkcode PacketStore.apply}. */
  async apply(batch: Batch): Promise<Unapplied> {
    const producer = this.#producers.get(batch.producer), { sequence } = batch;
    if (sequence <= producer.completed) return sequence === producer.completed ? producer.refused : [];
    producer.begin(sequence);
    const plan = planBatch(batch, this.#shards.length);
    const lost = await this.#run("check", batch, producer, unknown(plan, producer));
    if (lost.size > 0) {
      // A batch that was applied as a whole has moved its sessions.
      const shares = applySteps(plan).map(impossible);
      // Without `previous` no shard writes again a session that it does not have.
      const fenced = await this.#run("apply", { ...batch, previous: 0 }, producer, shares);
      if (fenced.size > 0) return inOrder(lost, batch);
    } else {
      await this.#claimParts(plan, producer, batch.receivedAtMs);
      const fenced = await this.#run("apply", batch, producer, applySteps(plan));
      if (fenced.size > 0) return await this.#rewound(fenced, batch);
      moveOffsets(plan);
    }
    const fenced = await this.#run("close", batch, producer, closeSteps(plan));
    return fenced.size > 0 ? inOrder(fenced, batch) : producer.complete();
  }

  /** Claims the parts that are not known. */
  async #claimParts({ shares }: BatchPlan, producer: Producer, nowMs: number): Promise<void> {
    const claims: Promise<void>[] = [];
    for (const { shard, parts } of shares) {
      if (producer.isApplied("apply", shard)) continue;
      for (const part of parts) {
        if (part.offsets.at(shard) === undefined) claims.push(this.#claimPart(part, shard, nowMs));
      }
    }
    await allSettled(claims);
  }

  /** A shard that has more than was to be expected, or a later claim, is left to find that when it applies. */
  async #claimPart({ whole, offsets }: PlannedSession, shard: number, nowMs: number): Promise<void> {
    const { session, epoch, from } = whole, part = partOf(session);
    const claim = await this.#shards[shard]!.claimSession(part, 0, nowMs, undefined, undefined, epoch);
    if (claim.refused === undefined && claim.committed <= from) offsets.moved(shard, claim.committed);
  }

  /** Applies a step in each of its shards that has not applied it before; returns what was fenced, by session. */
  async #run(
    step: Step | "check",
    batch: Batch,
    producer: Producer,
    shares: readonly ShardStep[],
  ): Promise<ReadonlyMap<string, Fenced>> {
    const fenced = new Map<string, Fenced>();
    await allSettled(shares.map(async (share) => {
      const { shard, sessions } = share;
      if (step !== "check" && producer.isApplied(step, shard)) return;
      const unapplied = step === "check"
        ? await this.#checker.check(share, batch, producer)
        : await this.#shards[shard]!.apply(batchOf(step, batch, producer, share, this.#shards.length));
      const refused = unapplied.filter((found) => found.kind === "refused");
      if (refused.length === unapplied.length) {
        if (step !== "check") producer.applied(step, shard, batch.receivedAtMs, refused);
        return;
      }
      const byName = new Map(sessions.map((session) => [session.sent.session, session]));
      for (const found of unapplied) {
        if (found.kind === "refused") continue;
        const session = byName.get(found.session)!;
        const asWhole = await this.#asWhole(found, session, shard, batch);
        fenced.set(asWhole.session, worse(asWhole, fenced.get(asWhole.session)));
      }
    }));
    return fenced;
  }

  /** What a shard found of a session, as the batch has it. */
  async #asWhole(
    found: FencedSession,
    { sent, whole }: StepSession,
    shard: number,
    { previous, receivedAtMs }: Batch,
  ): Promise<Fenced> {
    const { session, epoch, from } = whole;
    if (found.kind === "superseded" || sent.session === session) {
      if (found.kind === "reverted" && found.committed === from && previous > 0) {
        // It alone was lost. A shard that has had no batch of the producer does not see that.
        await this.#shards[shard]!.claimSession(session, from, receivedAtMs, undefined, undefined, epoch);
      }
      return { session, kind: found.kind, committed: sent.session === session ? found.committed : from };
    }
    // The shard has more, by a stream that was superseded meanwhile; or the offset has expired there; or it went back.
    if (found.committed >= sent.from) return { session, kind: "reverted", committed: from };
    return { session, kind: "reverted", committed: Math.min(found.committed, from), isPart: true };
  }

  /** Parts that went back: the next claim is to find that. */
  async #rewound(fenced: ReadonlyMap<string, Fenced>, batch: Batch): Promise<readonly FencedSession[]> {
    const { receivedAtMs, sessions } = batch;
    await allSettled(sessions.map(async (advance) => {
      const found = fenced.get(advance.session);
      if (found?.isPart !== true || found.committed >= advance.from) return;
      await this.#checker.rewind(advance, found.committed, receivedAtMs);
    }));
    return inOrder(fenced, batch);
  }
}

/** What several shards found of one session: another stream has it; or its home, or another shard, went back. */
function worse(one: Fenced, other: Fenced | undefined): Fenced {
  const rank = ({ kind, isPart }: Fenced) => kind === "superseded" ? 2 : isPart ? 0 : 1;
  if (other === undefined || rank(one) > rank(other)) return one;
  return rank(one) === rank(other) && one.committed < other.committed ? one : other;
}

function batchOf(
  step: Step,
  batch: Batch,
  producer: Producer,
  { shard, devices, sessions }: ShardStep,
  shards: number,
): Batch {
  const { sequence, receivedAtMs, deviceLimits, packetStream, numbering } = batch;
  const sent = {
    producer: step === "apply" ? batch.producer : `${batch.producer}\u001f${step}`,
    sequence,
    previous: producer.previous(batch, step, shard),
    receivedAtMs,
    devices,
    sessions: sessions.map(({ sent }) => sent),
    ...numbering === undefined ? {} : { numbering },
  };
  if (step !== "apply") return sent;
  return {
    ...sent,
    ...packetStream && { packetStream },
    ...deviceLimits && { deviceLimits: shareOf(deviceLimits, shards) },
  };
}

/** Sessions whose offset in a shard is not known: the check is whether they are still their streams'. */
function unknown({ shares, sessions }: BatchPlan, producer: Producer): ShardStep[] {
  if (shares.length < 2) return [];
  const found = new Set(sessions.filter(({ whole }) => whole.shards === undefined));
  for (const { shard, parts } of shares) {
    if (producer.isApplied("apply", shard)) continue;
    for (const part of parts) if (part.offsets.at(shard) === undefined) found.add(part);
  }
  const byHome = Map.groupBy(found, ({ home }) => home);
  return [...byHome].map(([shard, sessions]) => (
    { shard, devices: [], sessions: sessions.map(({ whole }) => unmoved(whole)) }
  ));
}

/** Each shard's devices, with the offsets of their sessions. */
function applySteps({ shares }: BatchPlan): ShardStep[] {
  return shares.filter(({ devices, own }) => devices.length > 0 || own.length > 0).map((share) => {
    const { shard, devices, own, parts } = share;
    const sessions = own.map(({ whole }) => ({ sent: plain(whole), whole }));
    for (const { whole, home, offsets } of parts) {
      const from = offsets.at(shard) ?? whole.from;
      const to = Math.max(from, whole.to); // It may be beyond the batch from a claim on.
      sessions.push({ sent: { session: partOf(whole.session), epoch: whole.epoch, from, to }, whole });
      // A stream that no longer has the session must not add to its home, where `own` uses no part.
      if (home === shard) sessions.push(unmoved(whole));
    }
    return { shard, devices, sessions };
  });
}

/** What the home shards get at last. */
function closeSteps({ shares }: BatchPlan): ShardStep[] {
  return shares.filter(({ closing }) => closing.length > 0).map(({ shard, closing }) => (
    { shard, devices: [], sessions: closing.map(({ whole }) => ({ sent: plain(whole), whole })) }
  ));
}

function moveOffsets({ shares }: BatchPlan): void {
  for (const { shard, parts } of shares) {
    for (const { whole, offsets } of parts) {
      offsets.moved(shard, Math.max(offsets.at(shard) ?? 0, whole.to));
    }
  }
}

function inOrder(fenced: ReadonlyMap<string, Fenced>, { sessions }: Batch): FencedSession[] {
  return sessions.flatMap(({ session }) => {
    const found = fenced.get(session);
    return found === undefined ? [] : [{ session, kind: found.kind, committed: found.committed }];
  });
}

function plain({ session, epoch, from, to }: SessionAdvance): SessionAdvance {
  return { session, epoch, from, to };
}

/** A shard applies this only if it has applied it before: then it looks at the sequence alone. */
function impossible({ shard, devices, sessions }: ShardStep): ShardStep {
  const [session] = sessions;
  const whole = session?.whole ?? { session: "", epoch: 0, from: 0, to: 0 };
  return { shard, devices, sessions: [{ sent: { session: "\u001f", epoch: 0, from: 0, to: 0 }, whole }] };
}

/** Of one shard: devices are spread evenly. */
function shareOf({ maxDevices, maxNewPerMinute }: DeviceLimits, shards: number): DeviceLimits {
  const of = (limit: number) => limit === Number.MAX_SAFE_INTEGER ? limit : Math.ceil(limit / shards);
  return { maxDevices: of(maxDevices), maxNewPerMinute: of(maxNewPerMinute) };
}
