/**
 * Claims of sessions in Redis, many in one step: each has to wait for replicas or the disk, and after an outage
 * all devices connect at once.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import {
  NEW_SESSION_EXPIRY_MS,
  type Resendable,
  SESSION_EXPIRY_MS,
  type SessionClaim,
  type SessionLimits,
} from "../packets.ts";
import { StoreError } from "../store_error.ts";
import type { RedisClient } from "./redis_client.ts";
import { claimScript } from "./scripts.ts";

/** Claims of one step: some milliseconds of Redis's time. */
const MAX_CLAIMS = 500;

interface Waiting extends PromiseWithResolvers<SessionClaim> {
  readonly session: string;
  readonly offset: number;
  readonly continues: string;
  readonly limits: SessionLimits;
  readonly epoch: number;
  readonly resendable: Resendable | undefined;
}

/** Of a claim that states none. */
const noLimits: SessionLimits = { maxSessions: Number.MAX_SAFE_INTEGER, mayCreate: true };

/** As `claim.lua` numbers them, from 1. */
const refusals = ["maxSessions", "mayCreate", "epoch"] as const satisfies SessionClaim["refused"][];

/** One step at a time; claims made meanwhile go into the next. At most one waits per open stream. */
export class SessionClaims {
  readonly #client: RedisClient;
  #waiting: Waiting[] = [];
  #running = false;

  /** Claims nothing yet. */
  constructor(client: RedisClient) {
    this.#client = client;
  }

  /** As {@linkcode PacketStore.claimSession}. */
  claim(
    session: string,
    offset: number,
    continues = session,
    limits = noLimits,
    epoch = 0,
    resendable?: Resendable,
  ): Promise<SessionClaim> {
    const waiting = {
      session,
      offset,
      continues,
      limits,
      epoch,
      resendable,
      ...Promise.withResolvers<SessionClaim>(),
    };
    this.#waiting.push(waiting);
    if (!this.#running) this.#run();
    return waiting.promise;
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const claims = this.#waiting.splice(0, MAX_CLAIMS);
      try {
        await this.#send(claims);
      } catch (error) {
        for (const { reject } of claims) reject(error);
      }
    }
    this.#running = false;
  }

  async #send(claims: readonly Waiting[]): Promise<void> {
    const names = this.#client.keys;
    const attempt = claims.length === 1
      ? `claim session ${claims[0]!.session}`
      : `claim ${claims.length} sessions`;
    const keys = [names.lineage, names.version, names.sessions];
    for (const { session, continues } of claims) keys.push(names.session(session), names.session(continues));
    const args = [SESSION_EXPIRY_MS, NEW_SESSION_EXPIRY_MS, names.session("")];
    const claimed = claims.flatMap(({ offset, limits: { mayCreate, maxSessions }, epoch, resendable }) => [
      ...[offset, mayCreate ? maxSessions : -1, epoch],
      ...[resendable?.oldest ?? offset, signedEpoch(resendable)],
    ]);
    const replies = await this.#client.writeDurably([attempt, claimScript, keys, [...args, ...claimed]]);
    for (const [i, reply] of (replies as (number[] | Buffer)[]).entries()) {
      const { session, resolve, reject } = claims[i]!;
      if (Array.isArray(reply)) {
        const [epoch, committed, lost, isNew, refused] = reply as [number, number, number, number, number];
        resolve({ epoch, committed, lost, isNew: isNew === 1, refused: refusals[refused - 1] });
      } else {
        const found = `${names.session(session)} holds a value Tally did not write: ${reply}`;
        reject(new StoreError(`could not claim session ${session}: ${found}`));
      }
    }
  }
}

function signedEpoch(resendable: Resendable | undefined): number {
  if (resendable === undefined) return 0;
  const { epoch, seesAllBatches = true } = resendable;
  return seesAllBatches ? epoch : -epoch;
}
