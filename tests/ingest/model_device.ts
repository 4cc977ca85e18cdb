/**
 * What a device of the session model remembers of its session.
 *
 * @module
 */
import type { ClaimedSession } from "../../src/ingest/stream/call_response.ts";
import type { SessionStart } from "../../src/ingest/stream/session_start.ts";
import type { Random } from "../support/random.ts";

/** What a device does with acknowledged packets. */
type Keeping =
  /** It forgets them. */
  | "nothing"
  /** It has all of them, and resumes from whatever a call's trailers have. */
  | "trailers"
  /** It has so many, states which, and goes back to what the store holds of them. */
  | number;

/** One device, which has one session. */
export class ModelDevice {
  readonly keeping: Keeping;
  /** It has sent the packets before this one, and those before that are acknowledged: now, and at any time. */
  sent = 0;
  acknowledged = 0;
  everAcknowledged = 0;
  /** It learnt that those before this one are settled without a claim to prove it: of a call that was not its newest. */
  unproven = 0;
  /** The newest of its calls: it heeds no other. */
  #call: unknown;
  #currentClaim: string | undefined;
  #claim: string | undefined;

  constructor(readonly session: string, random: Random) {
    this.keeping = random.chance(0.3)
      ? "trailers"
      : random.chance(0.6)
      ? random.pick([Infinity, Infinity, 3, 10])
      : "nothing";
  }

  /** Where a call begins that states `offset`. */
  start(offset: number): SessionStart {
    const { session, keeping } = this;
    if (typeof keeping !== "number") return { session, offset };
    const oldest = Math.max(0, Math.min(offset, this.acknowledged - keeping));
    return { session, offset, kept: { oldest, claim: this.#claim } };
  }

  /** `call` is its newest. */
  calls(call: unknown): void {
    this.#call = call;
  }

  /** The initial metadata of `call`. */
  claimed(call: unknown, { committed, claim }: ClaimedSession): void {
    this.#know(committed);
    if (typeof this.keeping !== "number") this.acknowledged = Math.max(this.acknowledged, committed);
    else if (call === this.#call) {
      if (committed > this.acknowledged) this.#settledTo(committed);
      this.#currentClaim = claim;
      this.acknowledged = committed;
    }
  }

  /** An Ack of `call`, or its trailers. */
  settled(call: unknown, committed: number, isTrailers: boolean): void {
    this.#know(committed);
    if (isTrailers && this.keeping === "trailers") this.acknowledged = committed;
    else if (typeof this.keeping !== "number") this.acknowledged = Math.max(this.acknowledged, committed);
    else if (call === this.#call && committed > this.acknowledged) this.#settledTo(committed);
  }

  #settledTo(committed: number): void {
    this.acknowledged = committed;
    this.#claim = this.#currentClaim;
    if (this.#claim === undefined) this.unproven = Math.max(this.unproven, committed);
  }

  #know(committed: number): void {
    this.everAcknowledged = Math.max(this.everAcknowledged, committed);
  }
}
