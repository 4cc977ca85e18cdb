/**
 * What became of a client's packets, over all its calls.
 *
 * @module
 */
import { RejectReason } from "../protocol/reject_reason.ts";
import type { Ack } from "../protocol/messages.ts";
import { Omission, type OmittedRange } from "./packet_buffer.ts";

/** Packets rejected for one reason. */
export interface Rejection {
  /**
   * Name of a `RejectReason` of the proto, such as `DEVICE_ID_EMPTY`; or, for packets that the client could
   * not send, `MESSAGE_TOO_LARGE` (larger than the messages that the server accepts) or `DAMAGED_IN_FILE`.
   */
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

  /** Counts what is new in `ack`; of it, `omitted` were left out. Returns the rejections among it. */
  add(ack: Ack, omitted: readonly OmittedRange[]): Rejection[] {
    const last = this.#last;
    this.#last = ack;
    this.stored += ack.stored - (last?.stored ?? 0);
    const added = this.#addOmitted(omitted);
    // What stands in for a packet has no device_id, and is rejected for that.
    const standIns = countOf(omitted);
    this.rejected += ack.rejected - (last?.rejected ?? 0) - standIns;
    for (const { reason: code, packets } of ack.rejections) {
      let count = packets - (last?.rejections.find(({ reason }) => reason === code)?.packets ?? 0);
      if (code === RejectReason.DEVICE_ID_EMPTY) count -= standIns;
      if (count > 0) added.push(this.#reject(RejectReason[code] ?? `REASON_${code}`, count));
    }
    return added;
  }

  /**
   * Counts packets that are settled without an Ack that tells how; of them, `omitted` were left out. Returns
   * the rejections among them.
   */
  addUnreported(packets: number, omitted: readonly OmittedRange[]): Rejection[] {
    this.unreported += packets - countOf(omitted);
    return this.#addOmitted(omitted);
  }

  #addOmitted(omitted: readonly OmittedRange[]): Rejection[] {
    this.rejected += countOf(omitted);
    return omitted.map(({ reason, from, to }) => this.#reject(Omission[reason]!, to - from));
  }

  #reject(reason: string, packets: number): Rejection {
    this.#rejections.set(reason, (this.#rejections.get(reason) ?? 0) + packets);
    return { reason, packets };
  }
}

function countOf(ranges: readonly OmittedRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}
