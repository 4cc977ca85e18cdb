/**
 * What became of a client's packets, over all its calls.
 *
 * @module
 */
import { RejectReason } from "../ingest/reject_reason.ts";
import type { Ack } from "../telemetry_proto.ts";

/** Packets rejected for one reason. */
export interface Rejection {
  /** Name of a `RejectReason` of the proto, such as `DEVICE_ID_EMPTY`. */
  readonly reason: string;
  /** How many. */
  readonly packets: number;
}

/** What became of a client's packets, over all its connections. */
export interface Totals {
  /** Given to `send`, or found in the file; each is one of the four below. */
  readonly accepted: number;
  /** Counted. */
  readonly stored: number;
  /** Refused for one of {@linkcode rejections}; never sent again. */
  readonly rejected: number;
  /**
   * Stored or rejected, but the Ack that told which was lost with a connection: on reconnecting, Tally
   * says only how many packets it has settled.
   */
  readonly unreported: number;
  /** Not settled yet. */
  readonly pending: number;
  /** The rejected packets by reason. */
  readonly rejections: readonly Rejection[];
  /** Index in the session of the first packet that is not settled. */
  readonly committed: number;
}

/** Adds up what the Acks of one call after the other say. */
export class AckCounter {
  /** See {@linkcode Totals}. */
  stored = 0;
  /** See {@linkcode Totals}. */
  rejected = 0;
  /** See {@linkcode Totals}. */
  unreported = 0;
  readonly #rejections = new Map<string, number>();
  /** The last Ack of the call: each says what became of all packets of its call. */
  #last: Ack | undefined;

  /** See {@linkcode Totals}. */
  get rejections(): Rejection[] {
    return Array.from(this.#rejections, ([reason, packets]) => ({ reason, packets }));
  }

  /** The next Ack is the first of its call. */
  newCall(): void {
    this.#last = undefined;
  }

  /** Counts what is new in `ack`; returns the rejections among it. */
  add(ack: Ack): Rejection[] {
    const last = this.#last;
    this.#last = ack;
    this.stored += ack.stored - (last?.stored ?? 0);
    this.rejected += ack.rejected - (last?.rejected ?? 0);
    const added = [];
    for (const { reason: code, packets } of ack.rejections) {
      const known = last?.rejections.find(({ reason }) => reason === code)?.packets ?? 0;
      if (packets === known) continue;
      const reason = RejectReason[code] ?? `REASON_${code}`;
      this.#rejections.set(reason, (this.#rejections.get(reason) ?? 0) + packets - known);
      added.push({ reason, packets: packets - known });
    }
    return added;
  }
}
