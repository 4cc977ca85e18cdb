/**
 * Batches over shards: see `sharded_store.ts` for the steps, and why they are exact.
 *
 * @module
 */
import type {
  Batch,
  DeviceDelta,
  DeviceLimits,
  FencedSession,
  PacketStore,
  SessionAdvance,
  Unapplied,
} from "../packets.ts";
import { type BatchPlan, planBatch } from "./batch_plan.ts";
import { type Producer, Producers, type Step } from "./producers.ts";
import { rewind } from "./rewind.ts";
import { partOf, ShardOffsets } from "./session_shards.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";

type Shard = Pick<PacketStore, "apply" | "claimSession">;

/** A session of a step: how its shard has it, and as it is in the batch. */
interface StepSession {
  readonly sent: SessionAdvance;
  readonly whole: SessionAdvance;
}

/** `isPart`: a shard that is not the session's home went back. */
interface Fenced extends FencedSession {
  readonly isPart?: boolean;
}

/** What one shard gets in one step. */
interface ShardStep {
  readonly shard: number;
  readonly devices: readonly DeviceDelta[];
  readonly sessions: readonly StepSession[];
}

/** The offsets of a batch's sessions, also of those that came without. */
type Offsets = ReadonlyMap<SessionAdvance, ShardOffsets>;

/** Applies batches: see {@linkcode PacketStore.apply}. */
export class ShardedBatches {
  readonly #shards: readonly Shard[];
  readonly #producers = new Producers();
  /** Each check is new, also of a batch that is sent again. */
  readonly #checker: string = crypto.randomUUID();
  #checks = 0;
  /** The last check that each shard has answered. */
  readonly #checked: number[] = [];

  /** To these shards. */
  constructor(shards: readonly Shard[]) {
    this.#shards = shards;
  }

  /** As {@linkcode PacketStore.apply}. */
  async apply(batch: Batch): Promise<Unapplied> {
    const producer = this.#producers.get(batch.producer), { sequence } = batch;
    if (sequence <= producer.completed) return sequence === producer.completed ? producer.refused : [];
    producer.begin(sequence);
    const plan = planBatch(batch, this.#shards.length);
    const offsets = new Map(
      batch.sessions.map((advance) => [advance, offsetsOf(advance, this.#shards.length)]),
    );
    const closing = closings(plan);
    const lost = await this.#run("check", batch, producer, this.#unknown(batch, producer, plan, offsets));
    if (lost.size > 0) {
      // A batch that was applied as a whole has moved its sessions.
      const shares = this.#shares(plan, offsets).map(impossible);
      // Without `previous` no shard writes again a session that it does not have.
      const fenced = await this.#run("apply", { ...batch, previous: 0 }, producer, shares);
      if (fenced.size > 0) return inOrder(lost, batch);
    } else {
      await this.#claimParts(batch, producer, plan, offsets);
      const fenced = await this.#run("apply", batch, producer, this.#shares(plan, offsets));
      if (fenced.size > 0) return await this.#rewound(fenced, batch);
      moveOffsets(plan, offsets);
    }
    const fenced = await this.#run("close", batch, producer, closing);
    return fenced.size > 0 ? inOrder(fenced, batch) : producer.complete();
  }

  /** Sessions whose offset in a shard is not known: the check is whether they are still their streams'. */
  #unknown(batch: Batch, producer: Producer, plan: BatchPlan, offsets: Offsets): ShardStep[] {
    if (defined(plan).length < 2) return [];
    const unknown = new Set(batch.sessions.filter(({ shards }) => shards === undefined));
    for (const [shard, { parts }] of defined(plan)) {
      if (producer.isApplied("apply", shard)) continue;
      for (const part of parts) if (offsets.get(part)!.at(shard) === undefined) unknown.add(part);
    }
    const byHome = Map.groupBy(unknown, ({ session }) => shardOf(session, this.#shards.length));
    return [...byHome].map(([shard, sessions]) => ({ shard, devices: [], sessions: sessions.map(unmoved) }));
  }

  /** Claims the parts that are not known. */
  async #claimParts(batch: Batch, producer: Producer, plan: BatchPlan, offsets: Offsets): Promise<void> {
    const claims: Promise<void>[] = [];
    for (const [shard, { parts }] of defined(plan)) {
      if (producer.isApplied("apply", shard)) continue;
      for (const part of parts) {
        const known = offsets.get(part)!;
        if (known.at(shard) === undefined) {
          claims.push(this.#claimPart(part, known, shard, batch.receivedAtMs));
        }
      }
    }
    await allSettled(claims);
  }

  /** Each shard's devices, with the offsets of their sessions. */
  #shares(plan: BatchPlan, offsets: Offsets): ShardStep[] {
    return defined(plan).filter(([, { devices, own }]) => devices.length > 0 || own.length > 0).map(
      ([shard, { devices, own, parts }]) => {
        const sessions = own.map((whole) => ({ sent: plain(whole), whole }));
        for (const whole of parts) {
          const { session, epoch } = whole;
          const from = offsets.get(whole)!.at(shard) ?? whole.from;
          const to = Math.max(from, whole.to); // It may be beyond the batch from a claim on.
          sessions.push({ sent: { session: partOf(session), epoch, from, to }, whole });
          // A stream that no longer has the session must not add to its home, where `own` uses no part.
          if (shardOf(session, this.#shards.length) === shard) sessions.push(unmoved(whole));
        }
        return { shard, devices, sessions };
      },
    );
  }

  /** A shard that has more than was to be expected, or a later claim, is left to find that when it applies. */
  async #claimPart(
    { session, epoch, from }: SessionAdvance,
    offsets: ShardOffsets,
    shard: number,
    nowMs: number,
  ): Promise<void> {
    const part = partOf(session);
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
      const sent = step === "check"
        ? this.#checkOf(batch, producer, share)
        : batchOf(step, batch, producer, share, this.#shards.length);
      const unapplied = await this.#shards[shard]!.apply(sent);
      const refused = unapplied.filter((found) => found.kind === "refused");
      if (refused.length === unapplied.length) {
        if (step === "check") this.#checked[shard] = Math.max(this.#checked[shard] ?? 0, sent.sequence);
        else producer.applied(step, shard, refused);
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

  #checkOf({ previous, receivedAtMs }: Batch, producer: Producer, { shard, sessions }: ShardStep): Batch {
    const isKnown = previous === 0 || previous === producer.completed;
    return {
      producer: this.#checker,
      sequence: ++this.#checks,
      previous: this.#checked[shard] ?? (isKnown ? 0 : previous),
      receivedAtMs,
      devices: [],
      sessions: sessions.map(({ sent }) => sent),
    };
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
      const { session, from } = advance, found = fenced.get(session);
      if (found?.isPart !== true || found.committed >= from) return;
      const about = { producer: this.#checker, sequence: ++this.#checks, receivedAtMs };
      await rewind(this.#shards[shardOf(session, this.#shards.length)]!, advance, found.committed, about);
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
  const { sequence, receivedAtMs, deviceLimits } = batch;
  const sent = {
    producer: step === "apply" ? batch.producer : `${batch.producer}\u001f${step}`,
    sequence,
    previous: producer.previous(batch, step, shard),
    receivedAtMs,
    devices,
    sessions: sessions.map(({ sent }) => sent),
  };
  if (step !== "apply" || deviceLimits === undefined) return sent;
  return { ...sent, deviceLimits: shareOf(deviceLimits, shards) };
}

function offsetsOf({ shards }: SessionAdvance, count: number): ShardOffsets {
  return shards instanceof ShardOffsets ? shards : new ShardOffsets(new Array(count).fill(undefined));
}

function moveOffsets(plan: BatchPlan, offsets: Offsets): void {
  for (const [shard, { parts }] of defined(plan)) {
    for (const part of parts) {
      const offset = offsets.get(part)!;
      offset.moved(shard, Math.max(offset.at(shard) ?? 0, part.to));
    }
  }
}

function inOrder(fenced: ReadonlyMap<string, Fenced>, { sessions }: Batch): FencedSession[] {
  return sessions.flatMap(({ session }) => {
    const found = fenced.get(session);
    return found === undefined ? [] : [{ session, kind: found.kind, committed: found.committed }];
  });
}

/** What the home shards get at last. */
function closings(plan: BatchPlan): ShardStep[] {
  return defined(plan).filter(([, { closing }]) => closing.length > 0).map(([shard, { closing }]) => (
    { shard, devices: [], sessions: closing.map((whole) => ({ sent: plain(whole), whole })) }
  ));
}

function defined(plan: BatchPlan) {
  return [...plan.entries()].flatMap(([shard, share]) =>
    share === undefined ? [] : [[shard, share] as const]
  );
}

function plain({ session, epoch, from, to }: SessionAdvance): SessionAdvance {
  return { session, epoch, from, to };
}

/** The session must be as its stream left it, and stays so. */
function unmoved(whole: SessionAdvance): StepSession {
  const { session, epoch, from } = whole;
  return { sent: { session, epoch, from, to: from }, whole };
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
