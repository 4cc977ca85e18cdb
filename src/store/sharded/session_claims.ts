/**
 * Claims of sessions over shards.
 *
 * @module
 */
import type { PacketStore, Resendable, SessionClaim, SessionLimits } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import { partOf, ShardOffsets } from "./session_shards.ts";
import { allSettled } from "./settled.ts";
import { shardOf } from "./shard_of.ts";

type Shard = Pick<PacketStore, "claimSession">;

/** Claims what exists, and makes nothing. */
const onlyKnown: SessionLimits = { maxSessions: Number.MAX_SAFE_INTEGER, mayCreate: false };

/** Claims a session: see {@linkcode PacketStore.claimSession}, and `sharded_store.ts` for the steps. */
export class ShardedClaims {
  readonly #shards: readonly Shard[];

  /** Of these shards. */
  constructor(shards: readonly Shard[]) {
    this.#shards = shards;
  }

  /** As {@linkcode PacketStore.claimSession}. */
  async claim(
    session: string,
    offset: number,
    nowMs: number,
    continues: string | undefined,
    limits: SessionLimits | undefined,
    resendable?: Resendable,
  ): Promise<SessionClaim> {
    const share = this.#share(limits);
    // The home does not see batches of other shards, so that its data may be old without a loss.
    resendable &&= { ...resendable, seesAllBatches: false };
    const claim = continues === undefined || continues === session
      ? await this.#home(session).claimSession(
        session,
        offset,
        nowMs,
        undefined,
        share,
        undefined,
        resendable,
      )
      : await this.#claimContinuing(session, offset, nowMs, continues, limits, resendable);
    if (claim.refused !== undefined) return claim;
    return { ...claim, shards: new ShardOffsets(await this.#claimParts(session, claim.epoch, nowMs)) };
  }

  #home(session: string): Shard {
    return this.#shards[shardOf(session, this.#shards.length)]!;
  }

  /**
   * A shard's share of the sessions, twice: besides those whose home it is, it has offsets of sessions with devices
   * there.
   */
  #share(limits: SessionLimits | undefined): SessionLimits | undefined {
    if (limits === undefined || limits.maxSessions === Number.MAX_SAFE_INTEGER) return limits;
    return { ...limits, maxSessions: Math.ceil(2 * limits.maxSessions / this.#shards.length) };
  }

  /** Fences older streams in every shard that has the session, and reads how far each has it. */
  async #claimParts(session: string, epoch: number, nowMs: number): Promise<(number | undefined)[]> {
    const part = partOf(session);
    const claims = await allSettled(
      this.#shards.map((shard) => shard.claimSession(part, 0, nowMs, undefined, onlyKnown, epoch)),
    );
    return claims.map(({ committed, refused }) => {
      if (refused !== "epoch") return refused === undefined ? committed : undefined;
      // Another claim came between; or the home shard went back together with its clock.
      throw new StoreError(`could not claim session ${session}: a shard has a later claim of it`);
    });
  }

  async #claimContinuing(
    session: string,
    offset: number,
    nowMs: number,
    continues: string,
    limits: SessionLimits | undefined,
    resendable: Resendable | undefined,
  ): Promise<SessionClaim> {
    const home = this.#home(session);
    const known = await home.claimSession(
      session,
      offset,
      nowMs,
      undefined,
      onlyKnown,
      undefined,
      resendable,
    );
    if (known.refused === undefined || limits?.mayCreate === false) return known;
    const other = await this.#home(continues).claimSession(continues, 0, nowMs, undefined, onlyKnown);
    if (other.refused !== undefined) {
      const share = this.#share(limits);
      return await home.claimSession(session, offset, nowMs, undefined, share, undefined, resendable);
    }
    const offsets = await this.#claimParts(continues, other.epoch, nowMs);
    // What the shards have beyond the committed offset, before there is a session that does not show it.
    await allSettled(offsets.map(async (end, shard) => {
      if (end === undefined || end <= other.committed) return;
      await this.#shards[shard]!.claimSession(partOf(session), end, nowMs, undefined, undefined, 1);
    }));
    const from = Math.max(offset, other.committed);
    const claim = await home.claimSession(session, from, nowMs, undefined, this.#share(limits));
    return claim.refused === undefined ? { ...claim, lost: from - other.committed } : claim;
  }
}
