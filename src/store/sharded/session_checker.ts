/**
 * What is done with sessions alone, in their homes: checks, and moving them back.
 *
 * @module
 */
import type { Batch, DeviceDelta, PacketStore, SessionAdvance, Unapplied } from "../packets.ts";
import { AppliedSequences, type Producer } from "./producers.ts";
import { partOf } from "./session_shards.ts";
import { shardOf } from "./shard_of.ts";

/** A session of a step: how its shard has it, and as it is in the batch. */
export interface StepSession {
  /** As it is sent. */
  readonly sent: SessionAdvance;
  /** See `PlannedSession`. */
  readonly whole: SessionAdvance;
}

/** What one shard gets in one step. */
export interface ShardStep {
  /** Which shard. */
  readonly shard: number;
  /** What it adds. */
  readonly devices: readonly DeviceDelta[];
  /** What it checks and moves. */
  readonly sessions: readonly StepSession[];
}

/** The session must be as its stream left it, and stays so. */
export function unmoved(whole: SessionAdvance): StepSession {
  const { session, epoch, from } = whole;
  return { sent: { session, epoch, from, to: from }, whole };
}

/** Each call is a batch of its own, of a producer of its own; one at a time in each shard. */
export class SessionChecker {
  readonly #shards: readonly PacketStore[];
  readonly #producer: string = crypto.randomUUID();
  #sequence = 0;
  /** The last call that each shard has answered. */
  readonly #answered = new AppliedSequences();
  readonly #inFlight: Promise<unknown>[] = [];

  /** Of these shards. */
  constructor(shards: readonly PacketStore[]) {
    this.#shards = shards;
  }

  /** Which sessions of a step are not as their streams left them; see {@linkcode PacketStore.apply}. */
  check(
    { shard, sessions }: ShardStep,
    { previous, receivedAtMs }: Batch,
    producer: Producer,
  ): Promise<Unapplied> {
    const isKnown = previous === 0 || previous === producer.completed;
    return this.#apply(shard, receivedAtMs, sessions.map(({ sent }) => sent), isKnown ? 0 : previous);
  }

  /**
   * A shard holds `advance.session` up to `found` only, and has held more: moves the committed offset, in its home, back
   * to there. So the next claim finds what is lost, and a client that has kept it sends it again; what other shards have
   * is beyond the committed offset then. Of the home's own devices that offset alone shows what it has, so in the same
   * step its part moves up to where the offset was.
   */
  async rewind({ session, epoch, from }: SessionAdvance, found: number, nowMs: number): Promise<void> {
    const home = shardOf(session, this.#shards.length), part = partOf(session);
    const claim = await this.#shards[home]!.claimSession(part, 0, nowMs, undefined, undefined, epoch);
    if (claim.refused !== undefined) return; // A later claim has it.
    const { committed } = claim;
    await this.#apply(home, nowMs, [
      { session, epoch, from, to: found },
      { session: part, epoch, from: committed, to: Math.max(committed, from) },
    ]);
  }

  /** `unanswered`: the `previous` for a shard that has not answered yet. */
  #apply(
    shard: number,
    receivedAtMs: number,
    sessions: readonly SessionAdvance[],
    unanswered = 0,
  ): Promise<Unapplied> {
    const call = async () => {
      const sequence = ++this.#sequence;
      const previous = this.#answered.recent(shard, receivedAtMs) ?? unanswered;
      const batch = { producer: this.#producer, sequence, previous, receivedAtMs, devices: [], sessions };
      const unapplied = await this.#shards[shard]!.apply(batch);
      if (unapplied.length === 0) this.#answered.set(shard, sequence, receivedAtMs);
      return unapplied;
    };
    const called = (this.#inFlight[shard] ?? Promise.resolve()).then(call, call);
    this.#inFlight[shard] = called.catch(() => {});
    return called;
  }
}
